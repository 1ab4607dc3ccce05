"""`fusion grafana`: dashboards and alert rules, shown, pushed and rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Dashboards and alert rules: [bold]push[/bold], [bold]diff[/bold], [bold]render[/bold].",
)


@app.callback()
def options() -> None:
    """Dashboards and alert rules of Grafana, which are code here."""


@app.command(epilog="Example: fusion grafana render -o k8s/components/monitoring")
def render(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the manifests go.")],
) -> None:
    """Write the dashboards as config maps for Grafana's sidecar, and the alerts for the Prometheus operator."""
    from cluster.grafana.manifests import write

    write(output)
