"""The service under test: an upstream, and `fusion serve` in front of it, as processes of their own.

This process joins the service's Ray cluster as one more driver, to see which process holds what.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray.serve.context import _get_global_client, _set_global_client

from cluster.serving.app import APP_NAME
from cluster.serving.processes import MARK
from tests.support.ports import free_port

KEY = "sk-scaling-0123456789"
KEYS_ENV = "FUSION_SCALING_KEYS"
START_TIMEOUT_S = 240
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as Serve's controller knows it."""

    deployment: str
    id: str
    state: str
    pid: int
    node_id: str
    actor: str


@dataclass(frozen=True, slots=True)
class State:
    """The service at one time: its replicas, and how many of each deployment are aimed at."""

    replicas: tuple[Replica, ...]
    targets: Mapping[str, int]
    healthy: bool

    def running(self, deployment: str) -> list[Replica]:
        """The deployment's replicas that take requests."""
        return [each for each in self.replicas if each.deployment == deployment and each.state == "RUNNING"]

    @property
    def whole(self) -> bool:
        """Whether every deployment has as many replicas as are aimed at, no more, and all of them run."""
        counts = dict.fromkeys(self.targets, 0)
        for replica in self.replicas:
            if replica.state != "RUNNING":
                return False
            counts[replica.deployment] += 1
        return self.healthy and counts == self.targets


@dataclass(slots=True)
class Service:
    """Where the service is, and the file that it serves."""

    url: str
    file: Path
    address: str
    mark: str

    def state(self) -> State:
        """What Serve's controller says now."""
        details = _get_global_client().get_serve_details()
        app = details["applications"].get(APP_NAME, {"deployments": {}, "status": "none"})
        replicas = tuple(
            Replica(
                name,
                each["replica_id"],
                each["state"],
                each.get("pid") or 0,  # one that starts has neither
                each.get("node_id") or "",
                each.get("actor_name") or "",
            )
            for name, deployment in app["deployments"].items()
            for each in deployment["replicas"]
        )
        targets = {name: deployment["target_num_replicas"] for name, deployment in app["deployments"].items()}
        healthy = app["status"] == "RUNNING" and all(
            deployment["status"] == "HEALTHY" for deployment in app["deployments"].values()
        )
        return State(replicas, targets, healthy)

    def controller_pid(self) -> int:
        """The process of Serve's controller."""
        return self._actor_pid("ServeController")

    def proxy_pid(self) -> int:
        """The process of the actor that looks after HAProxy."""
        return self._actor_pid("HAProxyManager")

    def _actor_pid(self, kind: str) -> int:
        return next(each.pid for each in self.family() if " ".join(each.cmdline()).startswith(f"ray::{kind}"))

    def haproxies(self) -> list[psutil.Process]:
        """HAProxy's processes."""
        return [process for process in self.family() if process.name() == "haproxy"]

    def family(self) -> list[psutil.Process]:
        """Every process of the service and of its Ray, but `fusion serve` itself."""
        return [process for process in psutil.process_iter() if _mark_of(process) == self.mark]

    def apply(self, change: Any) -> subprocess.CompletedProcess[str]:
        """Change the configuration's document with `change` and have `fusion apply` bring it about."""
        document = yaml.safe_load(self.file.read_text())
        change(document)
        self.file.write_text(yaml.safe_dump(document, sort_keys=False))
        return run_fusion("apply", "-c", str(self.file), "--address", self.address)


def ongoing(replicas: list[Replica]) -> list[int]:
    """How many requests each of them has, running or waiting in it; those that do not say so within a second are left
    out."""
    counts: list[int] = []
    for replica in replicas:
        with suppress(Exception):
            actor: Any = ray.get_actor(replica.actor, namespace="serve")
            counts.append(ray.get(actor.get_num_ongoing_requests.remote(), timeout=1))
    return counts


def run_fusion(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The `fusion` command."""
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli.main", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def configuration(
    upstream: str, *, port: int, panel_ms: tuple[int, int, int], judge_ms: int, **changes: Any
) -> dict[str, Any]:
    """Three members and a judge model, each of which takes a known time. `one` and `writer` are on the backend `pair`,
    `two` and `three` on the backend `single`."""
    backend = {"kind": "remote", "base_url": f"{upstream}/v1"}
    models = dict(zip(("one", "two", "three"), panel_ms, strict=True))
    server: dict[str, Any] = {"host": "127.0.0.1", "port": port, "api_keys_env": KEYS_ENV}
    document: dict[str, Any] = {
        "backends": {"pair": {**backend}, "single": {**backend}},
        "members": {
            "one": {"backend": "pair", "model": f"after-{models['one']}"},
            "two": {"backend": "single", "model": f"after-{models['two']}"},
            "three": {"backend": "single", "model": f"after-{models['three']}"},
            "writer": {"backend": "pair", "model": f"after-{judge_ms}"},
        },
        "presets": {
            "fusion/merge": {"mode": "merge", "panel": ["one", "two", "three"], "judge": "writer", "deadline_s": 30}
        },
        "server": server,
    }
    for path, value in changes.items():
        *above, last = path.split("__")
        place = document
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return document


@contextmanager
def upstream() -> Iterator[str]:
    """The upstream's URL, while it serves."""
    command = [sys.executable, "-m", "tests.scaling.upstream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@contextmanager
def serving(address: str | None = None, **config: Any) -> Iterator[Service]:
    """`fusion serve` until it is ready, and until the end of the context. It starts a Ray of its own unless the address
    of one is given."""
    os.environ[KEYS_ENV] = KEY
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fusion-scaling-") as folder, upstream() as up:
        file, log = Path(folder) / "config.yaml", Path(folder) / "log"
        document = configuration(up, port=port, **config)
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        command = [sys.executable, "-m", "cluster.cli.main", "serve", "-c", str(file)]
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command + (["--address", address] if address else []),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                ready = next((line for line in process.stdout if line.startswith("ready ")), None)
                if ready is None:
                    raise RuntimeError(f"it ended with {process.wait()}:\n{log.read_text()}")
                said = _ANSI.sub("", log.read_text())
                found = re.search(r"Ray is at (\S+)", said)
                assert found is not None, said
                mark = os.environ[MARK] if address else _mark_below(process.pid)
                service = Service(f"http://127.0.0.1:{port}", file, found[1], mark)
                if not ray.is_initialized():
                    ray.init(address=service.address, log_to_driver=False, logging_level="ERROR", namespace="serve")
                yield service
            finally:
                if address is None:
                    with suppress(Exception):
                        ray.shutdown()
                    # Serve would go on asking the controller of the cluster that is gone.
                    _set_global_client(None)
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()


def wait_until_whole(service: Service, timeout_s: float = START_TIMEOUT_S) -> State:
    """The service's state once every replica that is aimed at runs."""
    ends_at = time.monotonic() + timeout_s
    while True:
        with suppress(Exception):
            if (state := service.state()).whole:
                return state
        if time.monotonic() > ends_at:
            raise TimeoutError(f"the service is not whole: {service.state()}")
        time.sleep(0.2)


def _mark_below(pid: int) -> str:
    children = psutil.Process(pid).children(recursive=True)
    return next(mark for child in children if (mark := _mark_of(child)))


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
