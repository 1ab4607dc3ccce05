"""What the commands that read recordings share: their options, each declared once, and how they report problems."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cluster.cli.output import ExitCode, fail, warn
from cluster.recordings.filter import RecordingFilter

if TYPE_CHECKING:
    from cluster.config.schema import ClusterConfig
    from cluster.recordings.folder import RecordingFolder


class Outcome(StrEnum):
    """How a request can end."""

    answered = "answered"
    failed = "failed"
    cancelled = "cancelled"


RecordingsPath = Annotated[
    str | None,
    typer.Option(
        "--recordings",
        metavar="PATH",
        help="Folder, object store URL, or Parquet file. Default: recordings.path of --config.",
    ),
]


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration that has recordings.path.")
]


Day = Annotated[str | None, typer.Option(metavar="DAY", help="Filter by day (UTC): 2026-01-31, or today.")]


def recordings_path(recordings: RecordingsPath = None, config: ConfigFile = None) -> str:
    """The place that `--recordings` or a configuration names."""
    return recordings or configured_path(config)


def recording_filter(
    day: Day = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="Filter by arrival on or after this day.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Filter by arrival on or before this day.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", "-p", metavar="ID", help="Filter by preset.")] = None,
    member: Annotated[
        str | None, typer.Option("--member", "-m", metavar="NAME", help="Filter by a member of the panel.")
    ] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Filter by outcome.")] = None,
) -> RecordingFilter:
    """The recordings that a command's options select."""
    if day is not None and (since is not None or until is not None):
        fail("give either --day, or --since and --until", ExitCode.USAGE)
    return RecordingFilter(_day(day or since), _day(day or until), preset, member, outcome and outcome.value)


def with_options(**builders: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, in place of each named parameter, the options of a function that makes its value of them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {name: inspect.signature(build, eval_str=True).parameters for name, build in builders.items()}
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
            parameters += options[name].values() if name in options else [parameter]

        @wraps(command)
        def run(**given: Any) -> None:
            built = {
                name: build(**{option: given.pop(option) for option in options[name]})
                for name, build in builders.items()
            }
            command(**built, **given)

        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__dict__["__signature__"] = inspect.Signature(keyword_only)
        return run

    return decorate


_FORMER_OPTION = re.compile(r"--traces(?==|$)")


class RecordingsCommand(TyperCommand):
    """A command with the option `--recordings`, whose former name `--traces` is accepted for one release."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        current = [_FORMER_OPTION.sub("--recordings", argument) for argument in args]
        if current != args:
            warn_renamed("--traces", "--recordings")
        return super().parse_args(ctx, current)


def warn_renamed(former: str, current: str) -> None:
    """Print on standard error that a command or an option has a new name."""
    warn(f"{former} is now called {current}; the former name is accepted in this release only")


@contextmanager
def reading(path: str) -> Generator[RecordingFolder]:
    """Open a place with recordings. Files that had to be skipped are named at the end, and make the exit code 1."""
    from cluster.recordings.folder import RecordingFolder, RecordingsError

    folder = RecordingFolder(path)
    try:
        yield folder
    except RecordingsError as error:
        _name_skipped(folder)
        fail(str(error))
    except BrokenPipeError:
        raise typer.Exit(ExitCode.FAILED) from None  # the reader of standard output has closed it
    except OSError as error:
        fail(f"{error.filename or 'output'}: {error.strerror}")
    if _name_skipped(folder):
        raise typer.Exit(ExitCode.FAILED)


def _name_skipped(folder: RecordingFolder) -> bool:
    for file, reason in folder.skipped:
        warn(f"skipped {file}: {reason}")
    return bool(folder.skipped)


def loaded(file: Path | None) -> ClusterConfig:
    """Load a configuration, the embedded one by default. One that cannot be used ends the command."""
    from cluster.config.loader import EMBEDDED, ConfigError, load

    try:
        return load(file or EMBEDDED)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)


def text_in(file: Path) -> str:
    """Read a text file. One that cannot be read ends the command."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {type(error).__name__}", ExitCode.USAGE)


def configured_path(file: Path | None) -> str:
    """The place that a configuration names. One without it ends the command."""
    config = loaded(file)
    if config.recordings is None:
        where = f"{file} has no recordings.path" if file else "no recordings were named"
        fail(f"{where}. Give --recordings PATH, or -c FILE with recordings: {{path: ...}}", ExitCode.USAGE)
    return config.recordings.path


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    if text == "today":
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is not a day: write it as 2026-01-31, or today", ExitCode.USAGE)
