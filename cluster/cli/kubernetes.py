"""`fusion k8s`: manifests for KubeRay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.output import ExitCode, fail
from cluster.config.kubernetes import RAY_SERVICE, ray_service_patch
from cluster.config.loader import ConfigError, check_renderable, load

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Manifests for KubeRay.")


@app.callback()
def options() -> None:
    """Manifests for KubeRay, made from the configuration file that [bold]fusion serve[/bold] takes."""


@app.command(epilog="Example: fusion k8s render -c k8s/overlays/remote-only/fusion.yaml > .../application.yaml")
def render(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration file.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the RayService.")] = RAY_SERVICE,
) -> None:
    """Print a configuration as the serveConfigV2 of a RayService, as a patch for Kustomize.

    Settings that do not work in a pod (a loopback address, a relative path) are reported with their lines; the exit
    code is 2 then.
    """
    try:
        loaded = load(config)
        check_renderable(config, loaded)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    typer.echo(ray_service_patch(loaded, name), nl=False)
