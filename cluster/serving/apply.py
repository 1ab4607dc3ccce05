"""`fusion apply`: replaces the configuration of a running service without losing a request.

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
from cluster.serving import ray_private
from cluster.serving.startup import (
    Report,
    StartFailed,
    await_running,
    environment,
    in_background,
    join_environment,
    override_server,
    prepare_models,
    resolve_address,
    silence_loggers,
)

if TYPE_CHECKING:
    from ray.serve import Application

TIMEOUT_S = 1800.0
"""Default time limit of a step, long enough to load large weights."""


_POLL_S = 0.25


class NothingToApplyTo(Exception):
    """No Ray cluster can be reached, or it does not serve this application. The message says which."""


class RestartNeeded(Exception):
    """The configuration changes a setting that takes effect only when the service starts. The message names it."""


def apply(
    file: Path, host: str | None, port: int | None, address: str | None, report: Report, timeout_s: float = TIMEOUT_S
) -> None:
    """Applies a configuration to a running service. Returns once all of it runs and everything replaced has ended.

    Args:
        file: the configuration.
        host: overrides the configuration's host, as `fusion serve --host` did.
        port: overrides the configuration's port, as `fusion serve --port` did.
        address: Ray cluster of the service; None looks for one on this machine.
        report: receives what is being done, one line at a time.
        timeout_s: time limit of each step.

    Raises:
        ConfigError: the configuration is invalid; nothing was changed.
        NothingToApplyTo: nothing was changed.
        RestartNeeded: nothing was changed.
        ModelUnavailable: no source has the embedded model; nothing was changed.
        StartFailed: a deployment does not start; the previous configuration has been restored.
        KeyboardInterrupt: Ctrl-C; the previous configuration has been restored.
    """
    config = override_server(load(file), host, port)
    before = _connect(config, address, report)
    served = config
    if before is not None:
        _check_server(before, config)
        served = _keep_ray_settings(before, config, report)
    folders = prepare_models(config, report)
    from cluster.serving import applied_config
    from cluster.serving.app import build

    try:
        for step in _steps(before, config, folders):
            _deploy(step, report, timeout_s)
    except (StartFailed, KeyboardInterrupt) as failed:
        if before is None:
            raise
        report("restoring the previous configuration")
        try:
            _deploy(build(before, folders=folders), report, timeout_s)
        except StartFailed as worse:
            raise StartFailed(f"{failed}\nThe previous configuration does not start either: {worse}") from failed
        if not isinstance(failed, StartFailed):
            raise
        raise StartFailed(f"{failed}\nThe service continues with its previous configuration.") from failed
    applied_config.save(served)


def _connect(config: ClusterConfig, address: str | None, report: Report) -> ClusterConfig | None:
    """Connects to the service's Ray cluster. Returns the configuration that it serves, None if that is unknown."""
    # Serve also reads its settings in the process that defines deployments.
    os.environ |= environment(is_loopback(config.server.host)) | join_environment()
    import ray
    from ray import serve
    from ray.exceptions import AuthenticationError

    silence_loggers("ray", "ray.serve", "httpx", "vllm")
    where = f"at {address}" if address else "on this machine"
    try:
        found = _find_cluster(address)
        ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, AuthenticationError, RuntimeError, ValueError) as error:
        raise NothingToApplyTo(
            f"no Ray cluster can be joined {where} ({type(error).__name__}): start one with `fusion serve`, "
            "or name the one that serves with --address; `fusion serve` says where it is as it starts"
        ) from error
    from cluster.serving import applied_config
    from cluster.serving.app import APP_NAME

    if APP_NAME not in serve.status().applications:
        raise NothingToApplyTo(f"the Ray cluster at {found} serves no fusion: start it with `fusion serve`")
    report(f"connected to Ray at {found}")
    return applied_config.load()


def _find_cluster(address: str | None) -> str:
    """Returns the address of a Ray cluster that accepts connections: the named one, or the only one on this machine.

    Raises:
        OSError: there is none.
        ValueError: the address is malformed.
        NothingToApplyTo: several run on this machine.
    """
    here = ray_private.local_clusters() if address is None else []
    if len(here) > 1:
        raise NothingToApplyTo(f"several Ray clusters run on this machine: choose one with --address {'|'.join(here)}")
    return resolve_address(address or "auto")


def _check_server(before: ClusterConfig, config: ClusterConfig) -> None:
    old, new = before.server, config.server
    if (old.host, old.port) == (new.host, new.port):
        return
    raise RestartNeeded(
        f"the service listens on {old.host}:{old.port} and the configuration wants {new.host}:{new.port}, which needs "
        "a restart: stop `fusion serve` and start it again. To keep the address, give --host and --port"
    )


def _keep_ray_settings(before: ClusterConfig, config: ClusterConfig, report: Report) -> ClusterConfig:
    """Returns the configuration with the Grafana and Prometheus settings that Ray's dashboard read when it started.
    Reports which changed settings therefore have no effect."""
    old, new = before.observability, config.observability
    if old.model_dump(exclude={"alerts"}) != new.model_dump(exclude={"alerts"}):
        report(
            "observability: Ray's dashboard keeps the Grafana and the Prometheus that it was started with; to use the "
            "new ones, stop `fusion serve` and start it again"
        )
    if old.alerts != new.alerts:
        report("observability.alerts: Grafana has its own copy of the alerts; update it with `fusion grafana push`")
    return config.model_copy(update={"observability": old.model_copy(update={"alerts": new.alerts})})


def _steps(before: ClusterConfig | None, config: ClusterConfig, folders: Mapping[str, str]) -> list[Application]:
    """Returns the applications to deploy one after the other on the way from one configuration to another."""
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


def _deploy(app: Application, report: Report, timeout_s: float) -> None:
    """Deploys an application and waits until it runs and every replica that it replaces has ended.

    Raises:
        StartFailed: a deployment does not start, or not within `timeout_s`.
    """
    from ray import serve

    from cluster.serving.app import APP_NAME

    serve_api: Any = serve
    [deploying] = in_background(lambda: serve_api.run(app, name=APP_NAME))
    await_running(serve_api, APP_NAME, deploying, report, timeout_s)
    reported = False
    while stopping := _stopping(serve_api.status().applications[APP_NAME].deployments):
        if not reported:
            report(f"{', '.join(stopping)}: replaced replicas finish their requests")
            reported = True
        time.sleep(_POLL_S)


def _stopping(deployments: Mapping[str, Any]) -> list[str]:
    return [name for name, deployment in deployments.items() if set(deployment.replica_states) - {"RUNNING"}]
