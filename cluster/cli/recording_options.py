"""What the commands that read recorded requests have in common: their options, and how they speak."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperCommand

if TYPE_CHECKING:
    from cluster.config.schema import ClusterConfig
    from cluster.recordings.folder import RecordingFolder

EXIT_FAILED = 1


EXIT_BAD_USAGE = 2


class Outcome(StrEnum):
    """How a request can end."""

    answered = "answered"
    failed = "failed"
    cancelled = "cancelled"


Recordings = Annotated[
    str | None,
    typer.Option(
        "--recordings", metavar="PATH", help="Folder, object store URL, or one file. Default: the configuration's."
    ),
]


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration whose recordings.path is meant.")
]


Day = Annotated[str | None, typer.Option(metavar="DAY", help="Only this day (UTC): 2026-01-31, today.")]


Since = Annotated[str | None, typer.Option(metavar="DAY", help="Only from this day on (UTC).")]


Until = Annotated[str | None, typer.Option(metavar="DAY", help="Only up to this day (UTC).")]


PresetName = Annotated[str | None, typer.Option("--preset", "-p", metavar="ID", help="Only of this preset.")]


MemberName = Annotated[str | None, typer.Option("--member", "-m", metavar="NAME", help="Only with this member.")]


OutcomeName = Annotated[Outcome | None, typer.Option(help="Only with this outcome.")]


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
    aside(f"{former} is now called {current}; the former name is accepted in this release only", "yellow")


@contextmanager
def reading(recordings: str | None, config: Path | None) -> Generator[RecordingFolder]:
    """The folder that is meant. Afterwards what had to be skipped is named, and ends the command with 1."""
    from cluster.recordings.folder import RecordingFolder, RecordingsError

    folder = RecordingFolder(recordings or configured(config))
    try:
        yield folder
    except RecordingsError as error:
        _name_skipped(folder)
        fail(str(error), EXIT_FAILED)
    except BrokenPipeError:
        raise typer.Exit(EXIT_FAILED) from None  # whoever read our output has seen enough
    except OSError as error:
        fail(f"{error.filename or 'output'}: {error.strerror}", EXIT_FAILED)
    if _name_skipped(folder):
        raise typer.Exit(EXIT_FAILED)


def _name_skipped(folder: RecordingFolder) -> bool:
    for file, reason in folder.skipped:
        aside(f"skipped {file}: {reason}", "yellow")
    return bool(folder.skipped)


def loaded(file: Path | None) -> ClusterConfig:
    from cluster.config.loader import EMBEDDED, ConfigError, load

    try:
        return load(file or EMBEDDED)
    except ConfigError as error:
        fail(str(error), EXIT_BAD_USAGE)


def text_in(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {type(error).__name__}", EXIT_BAD_USAGE)


def configured(file: Path | None) -> str:
    config = loaded(file)
    if config.recordings is None:
        where = f"{file} records nothing: it has no recordings.path" if file else "no folder of recordings is named"
        fail(f"{where}. Give --recordings PATH, or -c FILE with recordings: {{path: ...}}", EXIT_BAD_USAGE)
    return config.recordings.path


def days(day: str | None, since: str | None, until: str | None) -> tuple[date | None, date | None]:
    if day is not None and (since is not None or until is not None):
        fail("give either --day, or --since and --until", EXIT_BAD_USAGE)
    return _day(day or since), _day(day or until)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    if text == "today":
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no day: write it as 2026-01-31, or today", EXIT_BAD_USAGE)


def say(renderable: object) -> None:
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # so that lines stay whole for other programs
    console.print(renderable)


def aside(line: str, style: str | None = None) -> None:
    Console(stderr=True, highlight=False, emoji=False).print(line, style=style, markup=False, soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    aside(message, "red")
    raise typer.Exit(code)
