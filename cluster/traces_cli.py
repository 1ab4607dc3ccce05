"""`fusion traces`, `fusion rejudge` and `fusion report`: what was recorded, read."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from cluster.traces.folder import TraceFolder

EXIT_FAILED = 1
EXIT_BAD_USAGE = 2

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Look at recorded requests: [bold]ls[/bold], [bold]show[/bold], [bold]export[/bold].",
    epilog="Requests are recorded where the configuration has `traces: {path: ...}`; see docs/traces.md.",
)


class Outcome(StrEnum):
    """How a request can end."""

    answered = "answered"
    failed = "failed"
    cancelled = "cancelled"


class Format(StrEnum):
    """What can be exported to."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


Traces = Annotated[
    str | None,
    typer.Option(
        "--traces", metavar="PATH", help="Folder, object store URL, or one file. Default: the configuration's."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration whose traces.path is meant.")
]
Day = Annotated[str | None, typer.Option(metavar="DAY", help="Only this day (UTC): 2026-01-31, today.")]
Since = Annotated[str | None, typer.Option(metavar="DAY", help="Only from this day on (UTC).")]
Until = Annotated[str | None, typer.Option(metavar="DAY", help="Only up to this day (UTC).")]
PresetName = Annotated[str | None, typer.Option("--preset", "-p", metavar="ID", help="Only of this preset.")]
MemberName = Annotated[str | None, typer.Option("--member", "-m", metavar="NAME", help="Only with this member.")]
OutcomeName = Annotated[Outcome | None, typer.Option(help="Only with this outcome.")]


@app.command(epilog="Example: fusion traces ls --traces ./traces --since 2026-01-01 --outcome failed")
def ls(
    traces: Traces = None,
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
    from cluster.traces import export, show
    from cluster.traces.folder import Wanted

    wanted = Wanted(*_days(day, since, until), preset, member, outcome and outcome.value)
    with _reading(traces, config) as folder:
        rows = show.newest(folder, wanted, limit)
        if as_json:
            export.write_jsonl(rows, sys.stdout)
        elif rows:
            _print(show.listing(rows))
        else:
            _aside("no recorded request is like that")


@app.command(epilog="Example: fusion traces show 4f1c --traces ./traces")
def show(
    request: Annotated[str, typer.Argument(help="The request's id or the beginning of it, or its trace's id.")],
    traces: Traces = None,
    config: ConfigFile = None,
    day: Day = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show one request: every candidate, the judge models, the verdict, times, tokens and cost.

    A response's id is its header x-request-id. What was asked and answered is shown where content: full recorded it.
    """
    from cluster.traces import export
    from cluster.traces import show as showing
    from cluster.traces.folder import Wanted

    with _reading(traces, config) as folder:
        row = showing.one(folder, Wanted(*_days(day, None, None)), request)
        if as_json:
            typer.echo(export.as_json(row))
        else:
            _print(showing.details(row))


@app.command(epilog="Example: fusion traces export --traces ./traces --format csv -o january.csv --since 2026-01-01")
def export(
    traces: Traces = None,
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
    from cluster.traces import export as exporting
    from cluster.traces.folder import Wanted

    if form is Format.parquet and output is None:
        _fail("Parquet is not text: give a file with -o", EXIT_BAD_USAGE)
    wanted = Wanted(*_days(day, since, until), preset, member, outcome and outcome.value)
    with _reading(traces, config) as folder:
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
        _aside(f"{count} requests" + (f" in {output}" if output else ""))


@contextmanager
def _reading(traces: str | None, config: Path | None) -> Generator[TraceFolder]:
    """The folder that is meant. Afterwards what had to be skipped is named, and ends the command with 1."""
    from cluster.traces.folder import TraceFolder, TracesError

    folder = TraceFolder(traces or _configured(config))
    try:
        yield folder
    except TracesError as error:
        _name_skipped(folder)
        _fail(str(error), EXIT_FAILED)
    except BrokenPipeError:
        raise typer.Exit(EXIT_FAILED) from None  # whoever read our output has seen enough
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror}", EXIT_FAILED)
    if _name_skipped(folder):
        raise typer.Exit(EXIT_FAILED)


def _name_skipped(folder: TraceFolder) -> bool:
    for file, reason in folder.skipped:
        _aside(f"skipped {file}: {reason}", "yellow")
    return bool(folder.skipped)


def _configured(file: Path | None) -> str:
    from cluster.config_file import EMBEDDED, ConfigError, load

    try:
        config = load(file or EMBEDDED)
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_USAGE)
    if config.traces is None:
        where = f"{file} records nothing: it has no traces.path" if file else "nothing says where the traces are"
        _fail(f"{where}. Give --traces PATH, or -c FILE with traces: {{path: ...}}", EXIT_BAD_USAGE)
    return config.traces.path


def _days(day: str | None, since: str | None, until: str | None) -> tuple[date | None, date | None]:
    if day is not None and (since is not None or until is not None):
        _fail("give either --day, or --since and --until", EXIT_BAD_USAGE)
    return _day(day or since), _day(day or until)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    if text == "today":
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        _fail(f"{text!r} is no day: write it as 2026-01-31, or today", EXIT_BAD_USAGE)


def _print(renderable: object) -> None:
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # so that lines stay whole for other programs
    console.print(renderable)


def _aside(line: str, style: str | None = None) -> None:
    Console(stderr=True, highlight=False, emoji=False).print(line, style=style, markup=False, soft_wrap=True)


def _fail(message: str, code: int) -> NoReturn:
    _aside(message, "red")
    raise typer.Exit(code)
