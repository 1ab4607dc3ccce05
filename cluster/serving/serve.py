"""`fusion serve`: starts a service, keeps it in the foreground, and ends all of its processes on a signal.

configuration → port → embedded model → Ray → Serve → first completion → ready … → signal → shutdown
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, cast

import httpx

from cluster.config.backends import VllmBackendConfig
from cluster.config.base import is_loopback
from cluster.config.loader import check_secrets, load
from cluster.config.schema import ClusterConfig
from cluster.serving import prometheus, ray_private
from cluster.serving.processes import kill_marked, mark_run, start_watchdog
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
from deployments.members.local_socket.paths import remove_unused

FIRST_COMPLETION_TIMEOUT_S = 180.0


SHUTDOWN_TIMEOUT_S = 10.0
"""Time for Serve to shut down, and for Ray after it."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# Ray schedules by what replicas reserve, not by what they use: an engine and a judge must fit on one core too.
_MIN_CPUS = 4


class PortInUse(Exception):
    """Another process listens on a port that the service needs. The message names the port."""


class Stopped(BaseException):
    """A signal ends the service. Not an `Exception`, so that no handler treats it as a failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def serve(
    file: Path,
    host: str | None,
    port: int | None,
    address: str | None,
    report: Report,
    metrics_port: int | None = None,
) -> int:
    """Serves a configuration in the foreground until a signal arrives. Returns the number of the signal.

    Args:
        file: the configuration.
        host: overrides the configuration's host.
        port: overrides the configuration's port.
        address: running Ray cluster to deploy to; None starts one on this machine.
        report: receives what is being done, one line at a time.
        metrics_port: loopback port of a Prometheus to start beside the service; None starts none.

    Raises:
        PrometheusMissing: `metrics_port` is given and there is no prometheus on PATH; nothing was started.
        ConfigError: the configuration is invalid; nothing was started.
        PortInUse: nothing was started.
        ModelUnavailable: no source has the embedded model; nothing was started.
        StartFailed: everything that was started has been ended.
    """
    with _signals_raise():
        mark: str | None = None
        try:
            config = override_server(load(file), host, port)
            check_secrets(file, config, os.environ)
            _check_port(config.server.host, config.server.port)
            binary: str | None = None
            if metrics_port is not None:
                binary = prometheus.find()
                _check_port("127.0.0.1", metrics_port, "--metrics-port")
                os.environ.setdefault("RAY_PROMETHEUS_HOST", f"http://127.0.0.1:{metrics_port}")
            folders = prepare_models(config, report)
            mark = mark_run()
            watchdog = start_watchdog(mark)
            # In another thread, because an exception that a signal handler raises during an import can get lost.
            ray_started, deployed = in_background(
                lambda: _start_ray(config, address, report), lambda: _deploy(config, folders, report)
            )
            ray_started.result()
            _raise_on_signals()  # Ray has replaced the handlers
            if binary is not None and metrics_port is not None:
                session = cast("Path", ray_private.session_folder())  # Ray has started
                prometheus.start(binary, session, metrics_port)
                report(f"Prometheus: http://127.0.0.1:{metrics_port}")
                report(f"Prometheus runs as: {' '.join(prometheus.command(binary, session, metrics_port))}")
            deployed.result()
            watchdog.wait()  # the watchdog outlives this process: only a signal ends the wait
        except Stopped as stopped:
            return stopped.signum
        finally:
            if mark is not None:
                _ignore_signals()
                report("stopping")
                _shut_down(address is None)
                kill_marked(mark)
                remove_unused()
    return 0


def _start_ray(config: ClusterConfig, address: str | None, report: Report) -> None:
    # Variables for Prometheus and Grafana that the user has set take precedence.
    os.environ |= config.observability.environment() | dict(os.environ)
    os.environ |= environment(is_loopback(config.server.host)) | ({} if address is None else join_environment())
    import ray  # reads the environment when it is imported

    silence_loggers("ray", "httpx", "vllm")
    if any(isinstance(backend, VllmBackendConfig) for backend in config.backends.values()):
        # The definition of an engine deployment imports vLLM, which takes longer than Ray's start.
        in_background(lambda: import_module("deployments.vllm.deployment"))
    report("starting Ray" if address is None else f"connecting to Ray at {address}")
    try:
        if address is None:
            options: dict[str, Any] = {"num_cpus": max(os.cpu_count() or 1, _MIN_CPUS)}
        else:
            options = {"address": resolve_address(address)}
        context = ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises no specific type
        raise StartFailed(_ray_failure(address, error)) from error
    report(f"Ray is at {ray.get_runtime_context().gcs_address}")
    if context.dashboard_url:
        report(f"Ray's dashboard: http://{context.dashboard_url}")


def _ray_failure(address: str | None, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if address is not None:
        return f"no Ray cluster can be joined at {address} ({reason})"
    return f"Ray does not start; if the machine is overloaded, try again later ({reason})"


def _deploy(config: ClusterConfig, folders: dict[str, str], report: Report) -> None:
    from ray import serve as ray_serve

    from cluster.serving import applied_config
    from cluster.serving.app import APP_NAME, build

    silence_loggers("ray.serve")
    server = config.server
    serve_api: Any = ray_serve
    try:
        serve_api.start(http_options={"host": server.host, "port": server.port})
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        raise StartFailed(f"Ray Serve does not start ({type(error).__name__}: {reason})") from error
    [deploying] = in_background(lambda: serve_api.run(build(config, folders=folders), name=APP_NAME))
    await_running(serve_api, APP_NAME, deploying, report)
    report("requesting a first completion")
    took_s = _first_completion(config)
    applied_config.save(config)
    url = f"http://{server.host}:{server.port}"
    presets = ", ".join(config.presets)
    print(f"ready {url} ({presets}; first completion in {took_s:.1f} s)", flush=True)  # noqa: T201
    if server.api_keys_env is None:
        report("no keys are configured: only this machine can connect")


def _first_completion(config: ClusterConfig) -> float:
    """Requests a short completion of the default preset. Returns the seconds that it took."""
    server = config.server
    headers: dict[str, str] = {}
    if server.api_keys_env is not None:
        key = os.environ[server.api_keys_env].replace(",", " ").split()[0]
        headers["authorization"] = f"Bearer {key}"
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104
    body = {
        "model": config.default_preset,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
        "fusion": {"deadline_s": FIRST_COMPLETION_TIMEOUT_S},
    }
    started = time.monotonic()
    try:
        with httpx.Client(timeout=FIRST_COMPLETION_TIMEOUT_S + 10, trust_env=False) as client:
            response = client.post(f"http://{host}:{server.port}/v1/chat/completions", json=body, headers=headers)
    except httpx.HTTPError as error:
        raise StartFailed(f"the first completion failed: {type(error).__name__}") from error
    if response.status_code != 200:
        raise StartFailed(f"the first completion failed: HTTP {response.status_code} {response.text[:500]}")
    return time.monotonic() - started


def _check_port(host: str, port: int, option: str = "--port") -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"cannot listen on {host}:{port}: {error.strerror}. Choose another port with {option}"
            ) from None


def _shut_down(owns_ray: bool) -> None:
    """Shuts down Serve, then Ray, each within `SHUTDOWN_TIMEOUT_S`; `kill_marked` ends what is left.

    Ray is shut down even if Serve hangs, because a process that is still connected dies together with Ray's node.
    """
    ray: Any = sys.modules.get("ray")
    # The module is incomplete if the signal arrived during its import.
    if not getattr(ray, "is_initialized", bool)():
        return
    from ray import serve as ray_serve

    from cluster.serving.app import APP_NAME

    serve_api: Any = ray_serve
    # Hides what Ray prints about its own processes ending.
    with Path(os.devnull).open("w") as devnull, redirect_stderr(devnull), redirect_stdout(devnull):
        for end in (serve_api.shutdown if owns_ray else lambda: serve_api.delete(APP_NAME), ray.shutdown):
            with suppress(Exception):
                in_background(end)[0].result(SHUTDOWN_TIMEOUT_S)


@contextmanager
def _signals_raise() -> Generator[None]:
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    _raise_on_signals()
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _raise_on_signals() -> None:
    def stop(signum: int, _: FrameType | None) -> None:
        _ignore_signals()
        raise Stopped(signum)

    for signum in _SIGNALS:
        signal.signal(signum, stop)


def _ignore_signals() -> None:
    """Ignores further signals during the shutdown."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
