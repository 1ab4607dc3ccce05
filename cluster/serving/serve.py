"""What `fusion serve` does, from a configuration file to a service in the foreground, and back to nothing.

configuration → port → embedded model → Ray → Serve → a real completion → ready … → signal → everything ended
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
from cluster.serving import prometheus
from cluster.serving.processes import mark_run, sweep, watch_run
from cluster.serving.startup import (
    Report,
    StartFailed,
    await_running,
    environment,
    in_background,
    joining,
    prepare_models,
    quieten,
    ray_session,
    reachable,
    with_server,
)
from deployments.members.local_socket.paths import remove_unused

FIRST_ANSWER_TIMEOUT_S = 180.0


SHUTDOWN_TIMEOUT_S = 10.0


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# Ray counts what a replica reserves, not what it uses: an engine and a judge have to fit on one core too.
_MIN_CPUS = 4


class PortInUse(Exception):
    """Something else listens where the service should."""


class Stopped(BaseException):
    """A signal asked for the end. Not an `Exception`, so that nothing on the way takes it for a failure."""

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
    """Serve a configuration in the foreground until a signal comes. Returns that signal's number.

    Args:
        file: the configuration.
        host: instead of the configuration's.
        port: instead of the configuration's.
        address: of a running Ray cluster to use; None starts one on this machine.
        report: told what is being done, a line at a time.
        metrics_port: where a Prometheus listens that is started for the service, on the loopback address; None starts
            none.

    Raises:
        PrometheusMissing: one is wanted, and there is none; nothing was started.
        ConfigError: the configuration cannot be used; nothing was started.
        PortInUse: nothing was started.
        ModelUnavailable: the embedded model cannot be had; nothing was started.
        StartFailed: everything that was started has been ended.
    """
    with _signals_raise():
        mark: str | None = None
        try:
            config = with_server(load(file), host, port)
            check_secrets(file, config, os.environ)
            _check_port(config.server.host, config.server.port)
            binary: str | None = None
            if metrics_port is not None:
                binary = prometheus.find()
                _check_port("127.0.0.1", metrics_port, "--metrics-port")
                os.environ.setdefault("RAY_PROMETHEUS_HOST", f"http://127.0.0.1:{metrics_port}")
            folders = prepare_models(config, report)
            mark = mark_run()
            watchdog = watch_run(mark)
            # In a thread, while this one waits: what a signal raises in the middle of an import can get lost.
            ray_started, deployed = in_background(
                lambda: _start_ray(config, address, report), lambda: _deploy(config, folders, report)
            )
            ray_started.result()
            _raise_on_signals()  # Ray has put handlers of its own in their place
            if binary is not None and metrics_port is not None:
                session = cast("Path", ray_session())  # Ray has started
                prometheus.start(binary, session, metrics_port)
                report(f"Prometheus: http://127.0.0.1:{metrics_port}")
                report(f"it runs as: {' '.join(prometheus.command(binary, session, metrics_port))}")
            deployed.result()
            watchdog.wait()  # it outlives this process, so this ends with a signal
        except Stopped as stopped:
            return stopped.signum
        finally:
            if mark is not None:
                _hold_signals()
                report("stopping")
                _shut_down(address is None)
                sweep(mark)
                remove_unused()
    return 0


def _start_ray(config: ClusterConfig, address: str | None, report: Report) -> None:
    # What the environment says already of Prometheus and Grafana stays.
    os.environ |= config.observability.environment() | dict(os.environ)
    os.environ |= environment(is_loopback(config.server.host)) | ({} if address is None else joining())
    import ray  # reads the environment when it is imported

    quieten("ray", "httpx", "vllm")
    if any(isinstance(backend, VllmBackendConfig) for backend in config.backends.values()):
        # Describing an engine imports vLLM here too, which takes longer than Ray's start: let it begin meanwhile.
        in_background(lambda: import_module("deployments.vllm.deployment"))
    report("starting Ray" if address is None else f"connecting to Ray at {address}")
    try:
        if address is None:
            where: dict[str, Any] = {"num_cpus": max(os.cpu_count() or 1, _MIN_CPUS)}
        else:
            where = {"address": reachable(address)}
        context = ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no error of its own for this
        raise StartFailed(_no_ray(address, error)) from error
    report(f"Ray is at {ray.get_runtime_context().gcs_address}")
    if context.dashboard_url:
        report(f"Ray's dashboard: http://{context.dashboard_url}")


def _no_ray(address: str | None, error: Exception) -> str:
    said = " ".join(str(error).split())
    if address is not None:
        return f"no Ray cluster can be joined at {address} ({said})"
    return f"Ray does not start; the machine may have too much to do, then try again later ({said})"


def _deploy(config: ClusterConfig, folders: dict[str, str], report: Report) -> None:
    from ray import serve as ray_serve

    from cluster.serving.app import APP_NAME, build
    from cluster.serving.applied_config import remember

    quieten("ray.serve")
    server = config.server
    serve_api: Any = ray_serve
    try:
        serve_api.start(http_options={"host": server.host, "port": server.port})
    except Exception as error:
        said = " ".join(str(error).split())[:500]
        raise StartFailed(f"Ray Serve does not start ({type(error).__name__}: {said})") from error
    [deploying] = in_background(lambda: serve_api.run(build(config, folders=folders), name=APP_NAME))
    await_running(serve_api, APP_NAME, deploying, report)
    report("asking for a first answer")
    took_s = _first_answer(config)
    remember(config)
    url = f"http://{server.host}:{server.port}"
    presets = ", ".join(config.presets)
    print(f"ready {url} ({presets}; first answer in {took_s:.1f} s)", flush=True)  # noqa: T201
    if server.api_keys_env is None:
        report("no keys are configured: only this machine can connect")


def _first_answer(config: ClusterConfig) -> float:
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
        "fusion": {"deadline_s": FIRST_ANSWER_TIMEOUT_S},
    }
    started = time.monotonic()
    try:
        with httpx.Client(timeout=FIRST_ANSWER_TIMEOUT_S + 10, trust_env=False) as client:
            reply = client.post(f"http://{host}:{server.port}/v1/chat/completions", json=body, headers=headers)
    except httpx.HTTPError as error:
        raise StartFailed(f"no first answer: {type(error).__name__}") from error
    if reply.status_code != 200:
        raise StartFailed(f"no first answer: HTTP {reply.status_code} {reply.text[:500]}")
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


def _shut_down(ours: bool) -> None:
    """Ask Serve, then Ray, to end, each for a bounded time: what is left after it is swept.

    Ray comes down in its own way even when Serve hangs, for a process that is still connected dies with Ray's node.
    """
    ray: Any = sys.modules.get("ray")
    # It can be there in part, when the end comes in the middle of its import.
    if not getattr(ray, "is_initialized", bool)():
        return
    from ray import serve as ray_serve

    from cluster.serving.app import APP_NAME

    serve_api: Any = ray_serve
    # What Ray's processes say of each other's end is of no use to anyone.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):
        for end in (serve_api.shutdown if ours else lambda: serve_api.delete(APP_NAME), ray.shutdown):
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
        _hold_signals()
        raise Stopped(signum)

    for signum in _SIGNALS:
        signal.signal(signum, stop)


def _hold_signals() -> None:
    """The end is under way: asking again changes nothing."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
