"""Everyone who can fuse, and how to start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import yaml

from tests.benchmarks import processes
from tests.benchmarks.environments import environment
from tests.benchmarks.work import JUDGE, MEMBERS, PANEL, Work, question_text
from tests.support.ports import free_port

_ROOT = Path(__file__).parents[2]
_READY_TIMEOUT_S = 300.0
_IN_FLIGHT = 4096

Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contender is to run: its port, the upstream's API, a folder for its files, another free port."""

    port: int
    upstream: str
    folder: Path
    second_port: int


@dataclass(frozen=True, slots=True)
class Contender:
    """One that fuses. `commands` are what to start for it, `model` is what the clients of a work ask for, and
    `environment` is where its packages are: this project's own when it is None."""

    name: str
    commands: Callable[[Site, Path], list[Command]]
    model: Callable[[Work], str]
    environment: str | None = None

    def prepare(self) -> Path:
        """The folder of its environment.

        Raises:
            NotInstalled: its packages cannot be had.
        """
        return Path(sys.prefix) if self.environment is None else environment(self.environment)


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers. `all` are its processes."""

    url: str
    all: list[psutil.Process]


class NotStarted(Exception):
    """A contender did not answer in time, or ended. The message says where its output is."""


def _configured(site: Site) -> Path:
    backend = {
        "kind": "remote",
        "base_url": f"{site.upstream}/v1",
        "replicas": {"min": 1, "max": 1, "target_ongoing": _IN_FLIGHT},
    }
    names = (*MEMBERS, JUDGE)
    preset = {"mode": "merge", "panel": [*MEMBERS], "judge": JUDGE}
    config = {
        "backends": {"upstream": backend},
        "members": {name: {"backend": "upstream", "model": name} for name in names},
        "presets": {"bench/all": {**preset, "quorum": 3}, "bench/quorum": {**preset, "quorum": 2}},
        "server": {"port": site.port},
        "judge": {"replicas": {"min": 1, "max": 1}, "max_ongoing": _IN_FLIGHT, "max_queued": _IN_FLIGHT},
    }
    file = site.folder / "bench.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def _served(site: Site, env: Path) -> list[Command]:
    return [[env / "bin" / "fusion", "serve", "-c", _configured(site)]]


def _untuned(site: Site, env: Path) -> list[Command]:
    return [[env / "bin" / "python", "-m", "tests.benchmarks.untuned", _configured(site)]]


def _floor(site: Site, env: Path) -> list[Command]:
    council = Path(__file__).with_name("council.py")
    return [[env / "bin" / "python", council, str(site.port), f"{site.upstream}/v1"]]


def _litellm(site: Site, env: Path) -> list[Command]:
    listed = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": f"{site.upstream}/v1", "api_key": "sk-none"},
        }
        for name in (*MEMBERS, JUDGE)
    ]
    file = site.folder / "litellm.yaml"
    file.write_text(json.dumps({"model_list": listed}))
    council = Path(__file__).with_name("council.py")
    proxy: Command = [env / "bin" / "litellm", "--config", file, "--host", "127.0.0.1", "--port", str(site.second_port)]
    return [proxy, [env / "bin" / "python", council, str(site.port), f"http://127.0.0.1:{site.second_port}/v1"]]


def _optillm(site: Site, env: Path) -> list[Command]:
    options = ["--host", "127.0.0.1", "--port", str(site.port), "--base-url", f"{site.upstream}/v1", "--log", "error"]
    return [[env / "bin" / "optillm", "--approach", "moa", *options]]


def _preset(work: Work) -> str:
    return "bench/all" if work.seen_at_least == len(MEMBERS) else "bench/quorum"


FUSION = Contender("Fusion Cluster", _served, _preset)
FLOOR = Contender("floor: one plain process", _floor, lambda _: PANEL, "floor")
CONTENDERS = (
    FUSION,
    Contender("the same, Serve untuned", _untuned, _preset),
    Contender("council over LiteLLM proxy", _litellm, lambda _: PANEL, "litellm"),
    Contender("optillm moa", _optillm, lambda _: f"moa-{PANEL}", "optillm"),
    FLOOR,
)


@contextmanager
def upstream() -> Generator[str]:
    """The upstream in a process of its own; its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.upstream", str(port)], cwd=_ROOT)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running(contender: Contender, upstream_url: str, folder: Path) -> Generator[Running]:
    """The contender, from its first right answer on, until the end of the context.

    Raises:
        NotInstalled: its packages cannot be had.
        NotStarted: it did not answer.
    """
    env = contender.prepare()
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(free_port(), upstream_url, folder, free_port())
    mark = uuid.uuid4().hex
    output = folder / "output.txt"
    with output.open("w") as log:
        started = [
            subprocess.Popen(
                command, cwd=_ROOT, env=_environment(mark), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            for command in contender.commands(site, env)
        ]
        try:
            url = f"http://127.0.0.1:{site.port}/v1/chat/completions"
            _await_answer(contender, url, started, output)
            yield Running(url, list(processes.marked(mark)))
        finally:
            processes.end(mark)
            for process in started:
                process.wait()


def _environment(mark: str) -> dict[str, str]:
    """The harness's own, without what its own Python found its packages by."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    quiet = {
        "OPENAI_API_KEY": "sk-none",
        "DISABLE_ADMIN_UI": "true",
        "LITELLM_TELEMETRY": "False",
        # It would look for prices on the internet, and not start without a key.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    return {**env, **quiet, processes.MARK: mark}


def _await_answer(contender: Contender, url: str, started: list[subprocess.Popen[bytes]], output: Path) -> None:
    body = {
        "model": contender.model(Work("", "zero", 1, None)),
        "messages": [{"role": "user", "content": question_text("zero", 0)}],
    }
    until = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < until:
        if any(process.poll() is not None for process in started):
            break
        try:
            if httpx.post(url, json=body, timeout=30, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.25)
    raise NotStarted(f"{contender.name} does not answer; its output is in {output}")
