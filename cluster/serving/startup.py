"""What `fusion serve` and `fusion apply` share: settings of Ray, models, and waiting until every deployment runs."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cluster.config.backends import VllmBackendConfig
from cluster.config.cross_field import cross_field_errors
from cluster.config.loader import ConfigError, Problem
from cluster.config.schema import ClusterConfig
from cluster.serving import embedded_model, haproxy, ray_private

REPORT_EVERY_S = 10.0
"""How often a deployment that is not up yet is reported, although nothing has changed."""


_FAILED = ("UNHEALTHY", "DEPLOY_FAILED")


_FAILS_FOR_S = 3.0
"""How long Serve must report a failure. Right after a change, a deployment may still have its earlier status."""


_CONNECT_TIMEOUT_S = 5.0


_POLL_S = 0.25


Report = Callable[[str], None]
"""Receives what is being done, one line at a time."""


class StartFailed(Exception):
    """The service did not come up. The message says why."""


def override_server(config: ClusterConfig, host: str | None, port: int | None) -> ClusterConfig:
    """Returns the configuration with the host and the port of the command line, where they are given.

    Raises:
        ConfigError: the configuration is invalid with them.
    """
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if not changes:
        return config
    changed = config.model_copy(update={"server": config.server.model_copy(update=changes)})
    problems = [Problem(1, 1, ".".join(map(str, where)), message) for where, message in cross_field_errors(changed)]
    if problems:
        raise ConfigError(Path("command line"), problems)
    return changed


def prepare_models(config: ClusterConfig, report: Report) -> dict[str, str]:
    """Fetches the embedded model if the configuration uses it. Returns the folders of fetched models by hub id.

    Raises:
        ModelUnavailable: no source has the model.
    """
    models = {backend.model for backend in config.backends.values() if isinstance(backend, VllmBackendConfig)}
    if embedded_model.HUB_ID not in models:
        return {}
    return {embedded_model.HUB_ID: str(embedded_model.prepare(embedded_model.default_cache_dir(), report))}


def environment(local: bool) -> dict[str, str]:
    """Returns the environment variables with which Ray and Serve run.

    HAProxy serves in place of Serve's own proxy, which is written in Python. If `local`, HAProxy listens on the
    loopback address alone, and on ports that no other service on this machine has.
    """
    common = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Optimized for throughput, Serve buffers a thousand log lines of a replica. Replicas here log only failures.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # Ray starts its workers at nice 15. On these machines they are the main workload.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # By default a stopping replica waits half a minute for proxies on other nodes.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # Serve replaces HAProxy after three failed health checks, which by default takes half a minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    }
    if not local:
        return common
    return common | {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy.COMMAND),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def join_environment() -> dict[str, str]:
    """Returns the environment variables for connecting to a running cluster.

    Ray stores the token of a cluster that it starts in the home directory of the user, and sends it only if token
    authentication is enabled before Ray is imported.
    """
    configured = any(os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"))
    if configured or not (os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").is_file()):
        return {}
    return {"RAY_AUTH_MODE": "token"}


def resolve_address(address: str) -> str:
    """Returns the address, `host:port`, of a Ray cluster that accepts connections. Ray itself would retry for minutes.

    Raises:
        OSError: nothing listens there.
        ValueError: the address is malformed.
    """
    found = ray_private.bootstrap_address(address)
    if found is None:
        raise ConnectionError("there is none")
    host, _, port = found.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S):
        return found


def silence_loggers(*loggers: str) -> None:
    """Lets these loggers emit errors only."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)


def in_background(*works: Callable[[], object]) -> list[Future[object]]:
    """Runs functions one after the other in a daemon thread, so that a signal does not have to wait for them.

    Returns a future for each. After a failure the later ones do not run and their futures stay pending. The thread
    never ends, because processes that Ray starts end with the thread that started them.
    """
    futures: list[Future[object]] = [Future() for _ in works]

    def run() -> None:
        for work, future in zip(works, futures, strict=True):
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
                break
        threading.Event().wait()

    threading.Thread(target=run, daemon=True).start()
    return futures


def await_running(
    serve_api: Any, app_name: str, deploying: Future[object], report: Report, timeout_s: float | None = None
) -> None:
    """Reports each deployment's progress until all of them run.

    Args:
        serve_api: the module `ray.serve`.
        app_name: the application.
        deploying: is done once `serve.run` has returned.
        report: receives a line for every change, and one every `REPORT_EVERY_S` for a deployment that is not up.
        timeout_s: None waits without a limit.

    Raises:
        StartFailed: a deployment does not start, or does not start in time.
    """
    reported: dict[str, tuple[str, float]] = {}
    explained: dict[str, str] = {}
    failing_since: dict[str, float] = {}
    started = time.monotonic()
    while not deploying.done():
        took_s = time.monotonic() - started
        deployments = _deployments(serve_api, app_name)
        for name, deployment in deployments.items():
            replicas = ", ".join(f"{count} {state.lower()}" for state, count in deployment.replica_states.items())
            before, reported_at = reported.get(name, ("", 0.0))
            is_slow = deployment.status != "HEALTHY" and took_s - reported_at >= REPORT_EVERY_S
            if replicas and (replicas != before or is_slow):
                reported[name] = (replicas, took_s)
                up = sum(each.status == "HEALTHY" for each in deployments.values())
                message = _first_line(deployment.message) if is_slow and deployment.message else ""
                why = f"; {message}" if message and message != explained.get(name) else ""
                explained[name] = message or explained.get(name, "")
                report(f"{name}: {replicas} ({took_s:.0f} s; {up} of {len(deployments)} deployments are up{why})")
            if deployment.status not in _FAILED:
                failing_since.pop(name, None)
            elif took_s - failing_since.setdefault(name, took_s) >= _FAILS_FOR_S:
                raise StartFailed(_start_failure(name, deployment.message))
        if timeout_s is not None and took_s > timeout_s:
            late = {name: each.message for name, each in deployments.items() if each.status != "HEALTHY"}
            why = "; ".join(f"{name}: {message or 'it is starting'}" for name, message in late.items())
            raise StartFailed(f"not every deployment is up within {timeout_s:.0f} s: {why}")
        time.sleep(_POLL_S)
    if error := deploying.exception():
        failed = [
            _start_failure(name, deployment.message)
            for name, deployment in _deployments(serve_api, app_name).items()
            if deployment.status in _FAILED
        ]
        raise StartFailed("\n".join(failed) or f"the application does not start: {error}") from error


def _deployments(serve_api: Any, app_name: str) -> dict[str, Any]:
    app: Any = serve_api.status().applications.get(app_name)
    return app.deployments if app else {}


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0].removesuffix(".")


def _start_failure(name: str, message: str) -> str:
    """One line of Serve's message about a deployment: the last, which ends the traceback of its replica."""
    last = message.strip().rpartition("\n")[2]
    session = ray_private.session_folder()
    logs = session / "logs" / "serve" if session else "Ray's session folder"
    return f"{name} does not start: {last} (see Serve's logs in {logs})"
