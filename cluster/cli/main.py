"""The `fusion` command: registers every subcommand. Each is in the module of its name."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from cluster.cli import apply, ask, check, grafana, kubernetes, plan, recordings, rejudge, serve, status
from cluster.cli.recording_options import RecordingsCommand

app = typer.Typer(
    name="fusion",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Several language models answer one prompt, and a judge combines their answers into one.",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 port in use, 128 + n after signal n.",
)


app.command(epilog="Example: fusion serve -c my.yaml --port 8123")(serve.serve)


app.command(epilog="Example: fusion apply -c my.yaml --port 8123")(apply.apply)


app.command(epilog="Example: fusion ask 'Is 91 prime?' --preset fusion/best-of --show-candidates")(ask.ask)


app.command(epilog="Example: fusion status --url http://127.0.0.1:8123")(status.status)


app.command(epilog="Example: fusion check -c my.yaml --live && fusion serve -c my.yaml")(check.check)


app.command(epilog="Example: fusion plan -c mixtral-8x22b --rps 2 --gpu-hour-usd 2.50")(plan.plan)


app.add_typer(recordings.app, name="recordings")


app.add_typer(recordings.former_app, name="traces", hidden=True)


app.command(
    cls=RecordingsCommand,
    epilog="Example: fusion rejudge --recordings ./recordings -c my.yaml --judge claude --mode best-of",
)(rejudge.rejudge)


app.command(cls=recordings.FormerReportCommand, hidden=True)(recordings.report)


app.add_typer(grafana.app, name="grafana")


app.add_typer(kubernetes.app, name="k8s")


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Options of the command itself."""
    if version:
        typer.echo(f"fusion-cluster {installed_version('fusion-cluster')}")
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
