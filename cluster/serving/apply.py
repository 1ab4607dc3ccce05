"""What `fusion apply` does: a running service gets another configuration, and no request is lost over it.

    new members start, what is not wanted any more runs on
        → judges that know the new presets start, the old ones end what they have
            → what is not wanted any more ends

Whatever did not change runs on untouched (`cluster.serving.versions`). When a step fails, the service goes back to what
it was.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.base import is_loopback
from cluster.config.loader import load
from cluster.config.schema import ClusterConfig
from cluster.serving.startup import (
    Report,
    StartFailed,
    await_running,
    environment,
    in_background,
    joining,
    prepare_models,
    quieten,
    reachable,
    with_server,
)

if TYPE_CHECKING:
    from ray.serve import Application

WITHIN_S = 1800.0
"""How long a step may take by default: as long as large weights take to load."""


_POLL_S = 0.25


class NothingToApplyTo(Exception):
    """No Ray cluster can be reached, or it serves nothing of ours. The message says which."""


class RestartNeeded(Exception):
    """The configuration changes what is settled when the service starts."""


def apply(
    file: Path, host: str | None, port: int | None, address: str | None, report: Report, within_s: float = WITHIN_S
) -> None:
    """Have a running service serve this configuration. Returns once it does.

    Args:
        file: the configuration.
        host: instead of the configuration's, as `fusion serve` was given it.
        port: instead of the configuration's, as `fusion serve` was given it.
        address: of the service's Ray cluster; None looks for one on this machine.
        report: told what is being done, a line at a time.
        within_s: how long each step may take.

    Raises:
        ConfigError: the configuration cannot be used; nothing was changed.
        NothingToApplyTo: nothing was changed.
        RestartNeeded: nothing was changed.
        ModelUnavailable: the embedded model cannot be had; nothing was changed.
        StartFailed: something of the new configuration does not start; the service is what it was.
        KeyboardInterrupt: someone thought better of it; the service is what it was.
    """
    config = with_server(load(file), host, port)
    before = _connect(config, address, report)
    served = config
    if before is not None:
        _check_server(before, config)
        served = _as_ray_was_started(before, config, report)
    folders = prepare_models(config, report)
    from cluster.serving.app import build
    from cluster.serving.applied_config import remember

    try:
        for step in _steps(before, config, folders):
            _bring_about(step, report, within_s)
    except (StartFailed, KeyboardInterrupt) as failed:
        if before is None:
            raise
        report("going back to what it was")
        try:
            _bring_about(build(before, folders=folders), report, within_s)
        except StartFailed as worse:
            raise StartFailed(f"{failed}\nNor does the configuration that it had: {worse}") from failed
        if not isinstance(failed, StartFailed):
            raise
        raise StartFailed(f"{failed}\nThe service goes on with the configuration that it had.") from failed
    remember(served)


def _connect(config: ClusterConfig, address: str | None, report: Report) -> ClusterConfig | None:
    """Join the service's cluster. Returns what it serves, None where that is not known."""
    # Serve reads its settings where deployments are described too.
    os.environ |= environment(is_loopback(config.server.host)) | joining()
    import ray
    from ray import serve
    from ray.exceptions import AuthenticationError

    quieten("ray", "ray.serve", "httpx", "vllm")
    where = f"at {address}" if address else "on this machine"
    try:
        found = _reachable(address)
        ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, AuthenticationError, RuntimeError, ValueError) as error:
        raise NothingToApplyTo(
            f"no Ray cluster can be joined {where} ({type(error).__name__}): start one with `fusion serve`, "
            "or name the one that serves with --address; `fusion serve` says where it is as it starts"
        ) from error
    from cluster.serving.app import APP_NAME
    from cluster.serving.applied_config import recall

    if APP_NAME not in serve.status().applications:
        raise NothingToApplyTo(f"the Ray cluster at {found} serves no fusion: start it with `fusion serve`")
    report(f"connected to Ray at {found}")
    return recall()


def _reachable(address: str | None) -> str:
    """The address of a Ray cluster that can be connected to.

    Raises:
        OSError: there is none.
        NothingToApplyTo: there are several to choose from.
    """
    from ray._private import services

    known: Any = services
    here: list[str] = sorted(known.find_gcs_addresses()) if address is None else []
    if len(here) > 1:
        raise NothingToApplyTo(f"several Ray clusters are on this machine: say which with --address {'|'.join(here)}")
    return reachable(address or "auto")


def _check_server(before: ClusterConfig, config: ClusterConfig) -> None:
    was, wanted = before.server, config.server
    if (was.host, was.port) == (wanted.host, wanted.port):
        return
    raise RestartNeeded(
        f"the service listens on {was.host}:{was.port} and the configuration wants {wanted.host}:{wanted.port}, which "
        "needs a restart: end `fusion serve` and start it again. To leave it where it is, give --host and --port"
    )


def _as_ray_was_started(before: ClusterConfig, config: ClusterConfig, report: Report) -> ClusterConfig:
    """The configuration with the Grafana and the Prometheus that Ray's dashboard read when it started. Says so where
    others are wanted."""
    was, wanted = before.observability, config.observability
    if was.model_dump(exclude={"alerts"}) != wanted.model_dump(exclude={"alerts"}):
        report(
            "observability: Ray's dashboard keeps the Grafana and the Prometheus that it was started with; for the new "
            "ones, end `fusion serve` and start it again"
        )
    if was.alerts != wanted.alerts:
        report("observability.alerts: Grafana has its own copy of the alerts; `fusion grafana push` changes it")
    return config.model_copy(update={"observability": was.model_copy(update={"alerts": wanted.alerts})})


def _steps(before: ClusterConfig | None, config: ClusterConfig, folders: Mapping[str, str]) -> list[Application]:
    """The applications that lead from one configuration to another, one after the other."""
    from cluster.serving.app import backend_deployments, build, by_member
    from cluster.serving.versions import deployment_name, runs_as

    if before is None:
        return [build(config, folders=folders)]
    wanted = backend_deployments(config, folders)
    # A backend that is in both configurations is the new one already, with the members of both.
    bridging = backend_deployments(config, folders, leaving=before)
    by_name = {deployment_name(app): app for app in bridging.values()}
    earlier = {
        backend: by_name.get(deployment_name(app), app) for backend, app in backend_deployments(before, folders).items()
    }
    steps = [
        build(before, by_member(before, earlier), kept=bridging.values()),
        build(config, by_member(config, bridging), kept=earlier.values()),
    ]
    gone = any(deployment_name(app) not in by_name for app in earlier.values())
    members_left = any(not runs_as(app, wanted[backend]) for backend, app in bridging.items())
    return [*steps, build(config, by_member(config, wanted))] if gone or members_left else steps


def _bring_about(app: Application, report: Report, within_s: float) -> None:
    """Deploy it, and wait until all of it runs and nothing else does any more.

    Raises:
        StartFailed: something does not start.
    """
    from ray import serve

    from cluster.serving.app import APP_NAME

    serve_api: Any = serve
    [deploying] = in_background(lambda: serve_api.run(app, name=APP_NAME))
    await_running(serve_api, APP_NAME, deploying, report, within_s)
    told = False
    while leaving := _leaving(serve_api.status().applications[APP_NAME].deployments):
        if not told:
            report(f"{', '.join(leaving)}: earlier replicas end what they have")
            told = True
        time.sleep(_POLL_S)


def _leaving(deployments: Mapping[str, Any]) -> list[str]:
    return [name for name, deployment in deployments.items() if set(deployment.replica_states) - {"RUNNING"}]
