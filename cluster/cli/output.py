"""What every command prints with, and the exit codes of `fusion`. docs/cli.md describes both.

Results go to standard output, progress, warnings and errors to standard error.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn

import typer
from rich.console import Console

PLAIN_WIDTH = 200
"""Columns of output that goes to a pipe or a file, so that other programs get whole lines."""


class ExitCode(IntEnum):
    """Exit codes of `fusion`. A service that a signal ended exits with 128 plus the signal's number."""

    OK = 0
    FAILED = 1
    """The command failed, or the answer is no: not ready, does not fit, differs."""
    USAGE = 2
    """Wrong usage or a bad configuration. Nothing was started or changed."""
    PORT_IN_USE = 3
    """`fusion serve` cannot listen on its port. Nothing was started."""
    INTERRUPTED = 130
    """Ctrl-C."""


stdout = Console(highlight=False, emoji=False)


stderr = Console(stderr=True, highlight=False, emoji=False)


def show(renderable: object, plain_width: int = PLAIN_WIDTH) -> None:
    """Prints a table, a tree or a line with markup to standard output.

    Outside of a terminal, lines are not broken, and tables have up to `plain_width` columns.
    """
    console = stdout if stdout.is_terminal else Console(width=plain_width, highlight=False, emoji=False)
    console.print(renderable, soft_wrap=isinstance(renderable, str) and not stdout.is_terminal)


def say(line: str) -> None:
    """Prints a line to standard output, without markup and unbroken."""
    stdout.print(line, markup=False, soft_wrap=True)


def notify(line: str, style: str | None = None) -> None:
    """Prints a line to standard error, without markup and unbroken."""
    stderr.print(line, style=style, markup=False, soft_wrap=True)


def warn(line: str) -> None:
    """Prints a warning to standard error."""
    notify(line, "yellow")


def report_progress(line: str) -> None:
    """Prints one step of a long-running command to standard error."""
    notify(f"  {line}")


def fail(message: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """Prints the message to standard error and ends the command.

    Raises:
        typer.Exit: always, with `code`.
    """
    notify(message, "red")
    raise typer.Exit(code)
