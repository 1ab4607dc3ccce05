"""What starting a service and changing a running one have in common."""

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
from cluster.config.loader import ConfigError, Problem
from cluster.config.schema import ClusterConfig
from cluster.serving import embedded_model as smollm2
from cluster.serving import haproxy

REPORT_EVERY_S = 10.0


_FAILED = ("UNHEALTHY", "DEPLOY_FAILED")


_FAILS_FOR_S = 3.0


Report = Callable[[str], None]


class StartFailed(Exception):
    """The service did not come up. The message says why."""


_CONNECT_TIMEOUT_S = 5.0


def with_server(config: ClusterConfig, host: str | None, port: int | None) -> ClusterConfig:
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if not changes:
        return config
    changed = config.model_copy(update={"server": config.server.model_copy(update=changes)})
    problems = [Problem(1, 1, ".".join(map(str, where)), message) for where, message in changed.cross_field_errors()]
    if problems:
        raise ConfigError(Path("command line"), problems)
    return changed


def prepare_models(config: ClusterConfig, report: Report) -> dict[str, str]:
    """The folders, by hub id, of the models that this machine has to have first."""
    wanted = {backend.model for backend in config.backends.values() if isinstance(backend, VllmBackendConfig)}
    if smollm2.HUB_ID not in wanted:
        return {}
    return {smollm2.HUB_ID: str(smollm2.prepare(smollm2.default_cache_dir(), report))}


def environment(local: bool) -> dict[str, str]:
    """Serve's settings: HAProxy in front of the judge's replicas, which saves Serve's own proxy, in Python. On the
    loopback address it listens nowhere else, and on ports that no other service on the machine has."""
    common = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # It keeps a thousand lines of a replica's log back. Few are written here, and each says what went wrong.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # Ray has its workers give way to everything else on a machine; here they are what the machine is for.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # By default a replica waits half a minute for proxies on other nodes before it ends.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # An HAProxy that died is missed after three looks, which by default takes half a minute.
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


def joining() -> dict[str, str]:
    """The environment for joining a cluster. Ray gives each one that it starts a token, which it keeps in the home of
    who started it, and sends it only when told so before it is imported."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"))
    if named or not (os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").is_file()):
        return {}
    return {"RAY_AUTH_MODE": "token"}


def reachable(address: str) -> str:
    """Where the Ray cluster of that name is, once it was seen to listen. Ray itself would try for many minutes.

    Raises:
        OSError: there is none.
        ValueError: that is no address.
    """
    from ray._private import services

    known: Any = services
    found: str | None = known.canonicalize_bootstrap_address(address)
    if found is None:
        raise ConnectionError("there is none")
    host, _, port = found.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S):
        return found


def quieten(*loggers: str) -> None:
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)


def in_background(*works: Callable[[], object]) -> list[Future[object]]:
    """Work in a thread that a signal to this process does not have to wait for: one after the other, up to one that
    fails. The thread stays, for Ray's processes end with the one that started them."""
    futures: list[Future[object]] = [Future() for _ in works]

    def do() -> None:
        for work, future in zip(works, futures, strict=True):
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
                break
        threading.Event().wait()

    threading.Thread(target=do, daemon=True).start()
    return futures


def await_running(
    serve_api: Any, app_name: str, deploying: Future[object], report: Report, within_s: float | None = None
) -> None:
    """Report on every deployment until all of them run; on those that do not yet, also every `REPORT_EVERY_S`.

    Raises:
        StartFailed: one does not start, or not within this time.
    """
    told: dict[str, tuple[str, float]] = {}
    explained: dict[str, str] = {}
    failing_since: dict[str, float] = {}
    started = time.monotonic()
    while not deploying.done():
        took_s = time.monotonic() - started
        deployments = _deployments(serve_api, app_name)
        for name, deployment in deployments.items():
            replicas = ", ".join(f"{count} {state.lower()}" for state, count in deployment.replica_states.items())
            before, told_at = told.get(name, ("", 0.0))
            is_slow = deployment.status != "HEALTHY" and took_s - told_at >= REPORT_EVERY_S
            if replicas and (replicas != before or is_slow):
                told[name] = (replicas, took_s)
                up = sum(each.status == "HEALTHY" for each in deployments.values())
                said = _first_line(deployment.message) if is_slow and deployment.message else ""
                why = f"; {said}" if said and said != explained.get(name) else ""
                explained[name] = said or explained.get(name, "")
                report(f"{name}: {replicas} ({took_s:.0f} s; {up} of {len(deployments)} deployments are up{why})")
            # What Serve says of one for a moment may be of the time before this.
            if deployment.status not in _FAILED:
                failing_since.pop(name, None)
            elif took_s - failing_since.setdefault(name, took_s) >= _FAILS_FOR_S:
                raise StartFailed(_does_not_start(name, deployment.message))
        if within_s is not None and took_s > within_s:
            late = {name: each.message for name, each in deployments.items() if each.status != "HEALTHY"}
            why = "; ".join(f"{name}: {message or 'it is starting'}" for name, message in late.items())
            raise StartFailed(f"not all of it is up within {within_s:.0f} s: {why}")
        time.sleep(0.25)
    if error := deploying.exception():
        failed = [
            _does_not_start(name, deployment.message)
            for name, deployment in _deployments(serve_api, app_name).items()
            if deployment.status in _FAILED
        ]
        raise StartFailed("\n".join(failed) or f"the application does not start: {error}") from error


def _deployments(serve_api: Any, app_name: str) -> dict[str, Any]:
    app: Any = serve_api.status().applications.get(app_name)
    return app.deployments if app else {}


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0].removesuffix(".")


def _does_not_start(name: str, message: str) -> str:
    """What Serve says of a deployment, without the traceback of its replica."""
    last = message.strip().rpartition("\n")[2]
    return f"{name} does not start: {last} (Serve's logs, in {_logs()}, have more)"


def _logs() -> str:
    session = ray_session()
    return f"{session / 'logs' / 'serve'}" if session else "Ray's folder"


def ray_session() -> Path | None:
    """The folder of the Ray session that this process is in, None where it is in none."""
    from ray._private import worker

    node: Any = worker._global_node  # pyright: ignore[reportPrivateUsage]
    return Path(node.get_session_dir_path()) if node else None
