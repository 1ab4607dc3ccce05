"""`fusion grafana`: dashboards and alert rules, shown, pushed and rendered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.output import ExitCode, fail, say, warn
from cluster.config.loader import ConfigError, load, named

if TYPE_CHECKING:
    from cluster.grafana.push import Change, Wanted

MAX_DETAILS = 12
"""Lines that `diff` shows of each change."""


TOKEN_VARIABLE = "GRAFANA_TOKEN"  # noqa: S105


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Dashboards and alert rules: [bold]push[/bold], [bold]diff[/bold], [bold]render[/bold].",
)


Url = Annotated[str, typer.Option(metavar="URL", help="Where Grafana is, such as http://grafana:3000.")]


TokenEnv = Annotated[
    str, typer.Option(metavar="NAME", help="Environment variable that holds a service account's token.")
]


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration whose observability is meant."),
]


Prometheus = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where Grafana finds Prometheus, instead of observability.prometheus_host."),
]


DataSource = Annotated[
    str | None, typer.Option("--datasource", metavar="UID", help="A data source that is there, instead of one of ours.")
]


@app.callback()
def options() -> None:
    """Dashboards and alert rules of Grafana, which are code here."""


@app.command(epilog="Example: fusion grafana push -c my.yaml --url http://grafana:3000 --token-env GRAFANA_TOKEN")
def push(
    url: Url,
    token_env: TokenEnv = TOKEN_VARIABLE,
    config: ConfigFile = None,
    prometheus: Prometheus = None,
    datasource: DataSource = None,
    force: Annotated[bool, typer.Option("--force", help="Also overwrite what was edited by hand.")] = False,
) -> None:
    """Make the folder, the data source, the dashboards and the alert rules in a Grafana, or bring them up to date.

    Safe to repeat. What was edited by hand is left alone and named, unless [bold]--force[/bold] is given; the exit code
    is 1 then, as it is when Grafana refuses anything.
    """
    from cluster.grafana.connection import GrafanaUnusable, translated

    wanted = _wanted(config, prometheus, datasource)
    done: list[str] = []
    left, at = 0, ""
    try:
        for change in _compared(url, _token(token_env), wanted):
            meant = change.forced() if force else change
            if meant.action in ("create", "update"):
                at = f"{change.what}: "
                with translated(url):
                    meant.do()
                done.append(f"{'made' if meant.action == 'create' else 'brought up to date'}: {change.what}")
                say(done[-1])
            elif meant.action == "leave":
                left += 1
                warn(f"left alone: {_reason(change)}")
    except GrafanaUnusable as error:
        fail(f"{at}{error}\n{_so_far(done)}")
    if left:
        raise typer.Exit(ExitCode.FAILED)
    if not done:
        say("nothing to do: all is as it should be")


@app.command(epilog="Example: fusion grafana diff --url http://grafana:3000")
def diff(
    url: Url,
    token_env: TokenEnv = TOKEN_VARIABLE,
    config: ConfigFile = None,
    prometheus: Prometheus = None,
    datasource: DataSource = None,
) -> None:
    """Show what a push would change. Nothing is changed.

    The exit code is that of [bold]diff[/bold]: 0 when nothing differs, 1 when something does, 2 when that is unknown.
    """
    from cluster.grafana.connection import GrafanaUnusable

    wanted = _wanted(config, prometheus, datasource)
    try:
        found = [change for change in _compared(url, _token(token_env), wanted) if change.action != "keep"]
    except GrafanaUnusable as error:
        fail(str(error), ExitCode.USAGE)
    words = {"create": "would be made", "update": "would be brought up to date"}
    for change in found:
        text = _reason(change) if change.action == "leave" else change.what
        say(f"{words.get(change.action, 'would be left alone')}: {text}")
        for detail in change.details[:MAX_DETAILS]:
            say(f"    {detail}")
        if (more := len(change.details) - MAX_DETAILS) > 0:
            say(f"    and {more} more")
    if found:
        raise typer.Exit(ExitCode.FAILED)
    say("nothing differs")


@app.command(epilog="Example: fusion grafana render -o k8s/components/monitoring")
def render(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the manifests go.")],
) -> None:
    """Write the dashboards as config maps for Grafana's sidecar, and the alerts for the Prometheus operator."""
    from cluster.grafana.manifests import write

    try:
        write(output)
    except OSError as error:
        fail(f"{output} cannot be written to: {error.strerror}")


def _wanted(config: Path | None, prometheus: str | None, datasource: str | None) -> Wanted:
    from cluster.config.monitoring import ObservabilityConfig
    from cluster.grafana.push import Wanted

    observability = ObservabilityConfig()
    if config is not None:
        try:
            observability = load(named(config)).observability
        except ConfigError as error:
            fail(str(error), ExitCode.USAGE)
    return Wanted(
        prometheus_url=prometheus or observability.prometheus_host,
        data_source_name=observability.prometheus_name,
        data_source_uid=datasource,
        objectives=observability.alerts,
    )


def _compared(url: str, token: str, wanted: Wanted) -> list[Change]:
    """What there is to do about everything that is wanted.

    Raises:
        GrafanaUnusable: Grafana cannot be asked.
    """
    from cluster.grafana.connection import connect, translated
    from cluster.grafana.push import changes

    api = connect(url, token)
    with translated(url):
        return [*changes(api, wanted)]


def _token(name: str) -> str:
    token = os.environ.get(name, "").strip()
    if not token:
        fail(
            f"the environment variable {name} holds no token: make one for a service account in Grafana", ExitCode.USAGE
        )
    return token


def _reason(change: Change) -> str:
    return f"{change.what}: {change.why}" + (" (--force overwrites it)" if change.forcible else "")


def _so_far(done: list[str]) -> str:
    if not done:
        return "Nothing was changed."
    return "Before that: " + "; ".join(done) + ". The rest was not done; push again once it is mended."
