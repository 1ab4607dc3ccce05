"""`fusion serve`: a service in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.options import ConfigFile
from cluster.cli.output import ExitCode, fail, report_progress
from cluster.config.loader import ConfigError, named


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of server.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on, instead of server.port.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Running Ray cluster to deploy to. Default: one that this command starts.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Also start the prometheus on PATH, on the loopback address.")
    ] = False,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of that Prometheus.")] = 9090,
) -> None:
    """Serve a configuration in the foreground.

    Prints a line that begins with [bold]ready[/bold] after a first completion has succeeded. Ctrl-C stops everything
    that the command started.
    """
    from cluster.serving.embedded_model import ModelUnavailable
    from cluster.serving.prometheus import PrometheusMissing
    from cluster.serving.serve import PortInUse
    from cluster.serving.serve import serve as serve_until_signal
    from cluster.serving.startup import StartFailed

    if metrics and address is not None:
        fail(
            "--metrics works with the Ray that serve starts; the cluster at --address has its own Prometheus",
            ExitCode.USAGE,
        )
    try:
        signum = serve_until_signal(
            named(config), host, port, address, report_progress, metrics_port if metrics else None
        )
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    except PortInUse as error:
        fail(str(error), ExitCode.PORT_IN_USE)
    except (StartFailed, ModelUnavailable, PrometheusMissing) as error:
        fail(str(error))
    raise typer.Exit(128 + signum)
