"""`fusion recordings`: what was recorded, listed, shown and exported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.recording_options import (
    EXIT_BAD_USAGE,
    ConfigFile,
    Day,
    MemberName,
    OutcomeName,
    PresetName,
    Recordings,
    RecordingsCommand,
    Since,
    Until,
    aside,
    days,
    fail,
    reading,
    say,
    warn_renamed,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Look at recorded requests: [bold]ls[/bold], [bold]show[/bold], [bold]export[/bold], [bold]report[/bold].",
    epilog="Requests are recorded where the configuration has `recordings: {path: ...}`; see docs/recordings.md.",
)


former_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
"""The same commands under the group's former name, `fusion traces`."""


@former_app.callback()
def _former_name() -> None:  # pyright: ignore[reportUnusedFunction]
    """The former name of [bold]fusion recordings[/bold], accepted in this release only."""
    warn_renamed("fusion traces", "fusion recordings")


class Format(StrEnum):
    """What can be exported to."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def ls(
    recordings: Recordings = None,
    config: ConfigFile = None,
    day: Day = None,
    since: Since = None,
    until: Until = None,
    preset: PresetName = None,
    member: MemberName = None,
    outcome: OutcomeName = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="So many at most.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a request.")] = False,
) -> None:
    """List recorded requests, the newest first.

    What a running service has recorded in a folder is there a second later. A file that cannot be read is skipped and
    named on standard error, and the exit code is 1 then.
    """
    from cluster.recordings import export, show
    from cluster.recordings.folder import Wanted

    wanted = Wanted(*days(day, since, until), preset, member, outcome and outcome.value)
    with reading(recordings, config) as folder:
        rows = show.newest(folder, wanted, limit)
        if as_json:
            export.write_jsonl(rows, sys.stdout)
        elif rows:
            say(show.listing(rows))
        else:
            aside("no recorded request is like that")


def show(
    request: Annotated[str, typer.Argument(help="The request's id or the beginning of it, or its trace's id.")],
    recordings: Recordings = None,
    config: ConfigFile = None,
    day: Day = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show one request: every candidate, the judge models, the verdict, times, tokens and cost.

    A response's id is its header x-request-id. What was asked and answered is shown where content: full recorded it.
    """
    from cluster.recordings import export
    from cluster.recordings import show as showing
    from cluster.recordings.folder import Wanted

    with reading(recordings, config) as folder:
        row = showing.one(folder, Wanted(*days(day, None, None)), request)
        if as_json:
            typer.echo(export.as_json(row))
        else:
            say(showing.details(row))


def export(
    recordings: Recordings = None,
    config: ConfigFile = None,
    form: Annotated[Format, typer.Option("--format", "-f", help="Lines of JSON, a table, or one Parquet file.")] = (
        Format.jsonl
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here; standard output by default.")
    ] = None,
    day: Day = None,
    since: Since = None,
    until: Until = None,
    preset: PresetName = None,
    member: MemberName = None,
    outcome: OutcomeName = None,
) -> None:
    """Export recorded requests, oldest file first, with all that was recorded of them.

    In CSV the lists (candidates, judge_calls, verdicts) are JSON. Parquet comes in the current schema, whatever version
    the files have, and needs [bold]-o[/bold].
    """
    from cluster.recordings import export as exporting
    from cluster.recordings.folder import Wanted

    if form is Format.parquet and output is None:
        fail("Parquet is not text: give a file with -o", EXIT_BAD_USAGE)
    wanted = Wanted(*days(day, since, until), preset, member, outcome and outcome.value)
    with reading(recordings, config) as folder:
        rows = folder.rows(wanted)
        if form is Format.parquet and output is not None:
            count = exporting.write_parquet(rows, output)
        else:
            write = exporting.write_csv if form is Format.csv else exporting.write_jsonl
            if output is None:
                count = write(rows, sys.stdout)
            else:
                with output.open("w", encoding="utf-8", newline="") as file:
                    count = write(rows, file)
        aside(f"{count} requests" + (f" in {output}" if output else ""))


def report(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page; it is written anew if it is there.")
    ] = Path("report.html"),
    recordings: Recordings = None,
    config: ConfigFile = None,
    day: Day = None,
    since: Since = None,
    until: Until = None,
    preset: PresetName = None,
    member: MemberName = None,
) -> None:
    """Make one HTML page about recorded requests: latency, cost, wins by member, agreement, degradations.

    The page needs nothing but itself: its plots are inline, nothing is loaded, and it follows the reader's choice of a
    light or a dark appearance. It has no prompts and no answers. How far candidates agree is shown where
    [bold]content[/bold] was recorded, in full or hashed.
    """
    from cluster.recordings import figures
    from cluster.recordings.folder import RecordingsError, Wanted
    from cluster.recordings.report import page

    wanted = Wanted(*days(day, since, until), preset, member)
    with reading(recordings, config) as folder:
        found = figures.gather(folder.rows(wanted, figures.COLUMNS))
        if not found.requests:
            raise RecordingsError("no recorded request is like that")
        notes = [f"left out: {Path(file).name}, {reason}" for file, reason in folder.skipped]
        output.write_text(page(found, notes), encoding="utf-8")
        aside(f"{found.requests} requests in {output}")


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
