"""`fusion ask`: a question to a running service."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from cluster.cli.options import API_KEY_VARIABLE, DEFAULT_URL, KeyEnv, Url
from cluster.cli.output import ExitCode, fail


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    preset: Annotated[
        str, typer.Option("--preset", "-p", metavar="ID", help="Preset or member to ask.")
    ] = "fusion/merge",
    show_candidates: Annotated[bool, typer.Option("--show-candidates", help="Show every member's answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
    url: Url = DEFAULT_URL,
    key_env: KeyEnv = API_KEY_VARIABLE,
) -> None:
    """Ask a running service a question.

    The answer streams to standard output; candidates and a summary go to standard error.
    """
    from cluster.cli.answer import show_live
    from cluster.cli.client import Question, RequestFailed, full_response

    text = sys.stdin.read() if question == "-" else question
    asked = Question(text, preset, url, os.environ.get(key_env))
    try:
        if as_json:
            typer.echo(json.dumps(full_response(asked), indent=2, ensure_ascii=False))
        else:
            show_live(asked, show_candidates)
    except RequestFailed as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
