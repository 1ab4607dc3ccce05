"""`fusion status`: what a running service can do."""

from __future__ import annotations

import os

import typer

from cluster.cli.options import API_KEY_VARIABLE, DEFAULT_URL, KeyEnv, Url
from cluster.cli.output import ExitCode, fail, say, show


def status(url: Url = DEFAULT_URL, key_env: KeyEnv = API_KEY_VARIABLE) -> None:
    """Show a running service's presets and members. The exit code is 0 if it is ready and 1 if it is not."""
    from cluster.cli.client import RequestFailed, status_tables

    try:
        ready, tables = status_tables(url, os.environ.get(key_env))
    except RequestFailed as error:
        fail(str(error))
    for table in tables:
        show(table)
    say(f"{url} is {'ready' if ready else 'not ready'}")
    raise typer.Exit(ExitCode.OK if ready else ExitCode.FAILED)
