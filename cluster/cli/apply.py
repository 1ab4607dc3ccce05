"""`fusion apply`: another configuration for a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.output import ExitCode, fail, report_progress, say
from cluster.config.loader import ConfigError, named


def apply(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration to apply.")],
    host: Annotated[str | None, typer.Option(help="The --host that serve was started with, if any.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The --port that serve was started with, if any.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster of the service. Default: the one on this machine.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time limit for new replicas to start.")
    ] = 1800,
) -> None:
    """Apply another configuration to a running service without losing a request.

    Only what the change affects is replaced: a changed preset, price, sampling setting or system prompt restarts the
    judges alone, and an engine restarts only when its model or its engine arguments change. A replica that is replaced
    stops after its successor is up and its own requests have finished.

    If a deployment does not start, or on Ctrl-C, the service returns to its previous configuration; the exit code is 1,
    or 130. It is 2 if the configuration is invalid or changes the service's address; then nothing was changed.
    """
    from cluster.serving.apply import NothingToApplyTo, RestartNeeded
    from cluster.serving.apply import apply as apply_to_running
    from cluster.serving.embedded_model import ModelUnavailable
    from cluster.serving.startup import StartFailed

    try:
        apply_to_running(named(config), host, port, address, report_progress, timeout)
    except (ConfigError, RestartNeeded) as error:
        fail(str(error), ExitCode.USAGE)
    except (StartFailed, NothingToApplyTo, ModelUnavailable) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    say(f"applied {config}")
