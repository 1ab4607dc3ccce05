"""`fusion recordings`: lists, shows and exports recordings, and reports on them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.output import ExitCode, fail, notify
from cluster.cli.output import show as display
from cluster.cli.recording_options import (
    Day,
    RecordingsCommand,
    reading,
    recording_filter,
    recordings_path,
    warn_renamed,
    with_options,
)
from cluster.recordings.filter import RecordingFilter

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Read recordings: [bold]ls[/bold], [bold]show[/bold], [bold]export[/bold], [bold]report[/bold].",
    epilog="Requests are recorded where the configuration has `recordings: {path: ...}`; see docs/recordings.md.",
)


former_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
"""The commands under the group's former name, `fusion traces`."""


@former_app.callback()
def _former_name() -> None:  # pyright: ignore[reportUnusedFunction]
    """The former name of [bold]fusion recordings[/bold], accepted in this release only."""
    warn_renamed("fusion traces", "fusion recordings")


class Format(StrEnum):
    """What recordings can be exported to."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


@with_options(path=recordings_path, selected=recording_filter)
def ls(
    path: str,
    selected: RecordingFilter,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number of recordings.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print each recording as a line of JSON.")] = False,
) -> None:
    """List recordings, the newest first.

    What a running service records in a folder appears within a second. A file that cannot be read is skipped and named
    on standard error, and the exit code is 1.
    """
    from cluster.recordings import export, show

    with reading(path) as folder:
        rows = show.newest(folder, selected, limit)
        if as_json:
            export.write_jsonl(rows, sys.stdout)
        elif rows:
            display(show.summary_table(rows))
        else:
            notify("no recording matches")


@with_options(path=recordings_path)
def show(
    path: str,
    request: Annotated[str, typer.Argument(help="The request's id or the beginning of it, or its trace id.")],
    day: Day = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show one recording: every candidate, the judge models, the verdict, times, tokens and cost.

    The id is in the response's header x-request-id. Prompts and answers are shown if they were recorded with
    content: full.
    """
    from cluster.recordings import export
    from cluster.recordings import show as showing

    with reading(path) as folder:
        row = showing.find(folder, recording_filter(day), request)
        if as_json:
            typer.echo(export.as_json(row))
        else:
            display(showing.details(row))


@with_options(path=recordings_path, selected=recording_filter)
def export(
    path: str,
    selected: RecordingFilter,
    form: Annotated[
        Format, typer.Option("--format", "-f", help="JSON lines, CSV, or one Parquet file.")
    ] = Format.jsonl,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file. Default: standard output.")
    ] = None,
) -> None:
    """Export recordings with all of their columns, the oldest file first.

    In CSV the lists (candidates, judge_calls, verdicts) are JSON. Parquet is written in the current schema, whatever
    version the files have, and needs [bold]-o[/bold].
    """
    from cluster.recordings import export as exporting

    if form is Format.parquet and output is None:
        fail("Parquet is not text: give a file with -o", ExitCode.USAGE)
    with reading(path) as folder:
        rows = folder.rows(selected)
        if form is Format.parquet and output is not None:
            count = exporting.write_parquet(rows, output)
        else:
            write = exporting.write_csv if form is Format.csv else exporting.write_jsonl
            if output is None:
                count = write(rows, sys.stdout)
            else:
                with output.open("w", encoding="utf-8", newline="") as file:
                    count = write(rows, file)
        notify(f"{count} requests" + (f" in {output}" if output else ""))


@with_options(path=recordings_path, selected=recording_filter)
def report(
    path: str,
    selected: RecordingFilter,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page. An existing file is overwritten.")
    ] = Path("report.html"),
) -> None:
    """Write an HTML report: latency, cost, wins by member, agreement, degradations.

    The page is self-contained: its plots are inline, nothing is loaded, and it follows the reader's light or dark
    appearance. It holds no prompts and no answers. How far candidates agree is shown if [bold]content[/bold] was
    recorded, in full or hashed.
    """
    from cluster.recordings import figures
    from cluster.recordings.folder import RecordingsError
    from cluster.recordings.report import page

    with reading(path) as folder:
        found = figures.gather(folder.rows(selected, figures.COLUMNS))
        if not found.requests:
            raise RecordingsError("no recording matches")
        notes = [f"skipped: {Path(file).name}, {reason}" for file, reason in folder.skipped]
        output.write_text(page(found, notes), encoding="utf-8")
        notify(f"{found.requests} requests in {output}")


class FormerReportCommand(RecordingsCommand):
    """`fusion report`, the former name of `fusion recordings report`."""

    def invoke(self, ctx: Any) -> Any:
        warn_renamed("fusion report", "fusion recordings report")
        return super().invoke(ctx)


_EXAMPLES: dict[Callable[..., None], str] = {
    ls: "fusion recordings ls --recordings ./recordings --since 2026-01-01 --outcome failed",
    show: "fusion recordings show 4f1c --recordings ./recordings",
    export: "fusion recordings export --recordings ./recordings --format csv -o january.csv --since 2026-01-01",
    report: "fusion recordings report --recordings ./recordings --since 2026-01-01 -o january.html",
}


for _command, _example in _EXAMPLES.items():
    app.command(cls=RecordingsCommand, epilog=f"Example: {_example}")(_command)


for _command in (ls, show, export):
    former_app.command(cls=RecordingsCommand)(_command)
