"""`fusion serve` as a process: what it says, what it leaves behind, and what it refuses before anything is started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.serve.conftest import ask
from tests.support.ports import free_port

START_TIMEOUT_S = 120


class _Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that knows one answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 1}
        content = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    Thread(target=upstream.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{upstream.server_port}/v1"
    content = {
        "backends": {"upstream": {"kind": "remote", "base_url": url}},
        "members": {"one": {"backend": "upstream", "model": "m"}},
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["one"], "judge": "one"}},
        "server": {"port": free_port()},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    yield file
    upstream.shutdown()
    upstream.server_close()


@contextmanager
def serving(config: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, in a group of its own, and its ready line. SIGTERM ends it, if it has not ended by then, and has to
    leave nothing behind."""
    command = [sys.executable, "-m", "cluster.cli.main", "serve", "-c", str(config), *options]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True) as process,
    ):
        try:
            assert process.stdout is not None
            ready = next((line for line in process.stdout if line.startswith("ready ")), None)
            assert ready is not None, f"it ended with {process.wait()}:\n{log.read_text()}"
            started = family(process)
            yield process, ready
            if process.poll() is None:
                process.terminate()
                assert process.wait(60) == 128 + signal.SIGTERM
            assert psutil.wait_procs(started, timeout=20)[1] == []
        finally:
            process.terminate()
            process.wait(60)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything that the process started, found by the mark that it leaves in their environment."""
    children = psutil.Process(process.pid).children(recursive=True)
    mark = next(mark for child in children if (mark := _mark(child)))
    return [candidate for candidate in psutil.process_iter() if _mark(candidate) == mark]


def haproxy_listens(process: subprocess.Popen[str]) -> list[str]:
    """The addresses that HAProxy listens on: the service, its statistics and its metrics. One that Serve replaces may
    still be there for a moment."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    while len(found := [each for each in family(process) if each.name() == "haproxy"]) != 1:
        assert time.monotonic() < ends_at, found
        time.sleep(0.1)
    listening = [each.laddr.ip for each in found[0].net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert len(listening) == 3
    return listening


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("FUSION_CLUSTER_RUN")
    except (psutil.Error, OSError):
        return None


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_it_gets_ready_answers_and_leaves_nothing_behind(config: Path, tmp_path: Path, how: str) -> None:
    """How it ends with SIGTERM `serving` holds, for every service of the tests."""
    port = yaml.safe_load(config.read_text())["server"]["port"]
    with serving(config, tmp_path / "log") as (process, ready):
        assert ready.startswith(f"ready http://127.0.0.1:{port}")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert ask(client, "fusion/merge").json()["choices"][0]["message"]["content"] == "four"
        started = family(process)
        assert len(started) > 3
        assert [at for at in haproxy_listens(process) if at != "127.0.0.1"] == []

        if how == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 128 + signal.SIGINT
        else:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def test_a_signal_during_the_start_ends_it(config: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli.main", "serve", "-c", str(config)], stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not psutil.Process(process.pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    process.terminate()

    assert process.wait(60) == 128 + signal.SIGTERM
    assert psutil.wait_procs(started, timeout=20)[1] == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli.main", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_port_in_use_is_said_before_anything_is_started(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = run("serve", "-c", str(config), "--port", str(taken.getsockname()[1]))

    assert refused.returncode == 3
    assert "cannot listen on 127.0.0.1" in refused.stderr


def test_a_bad_configuration_starts_nothing(config: Path) -> None:
    config.write_text(config.read_text().replace("mode: merge", "mode: vote"))
    refused = run("serve", "-c", str(config))

    assert refused.returncode == 2
    assert "presets.fusion/merge.mode" in refused.stderr


def test_keys_are_required_beyond_the_loopback_address(config: Path) -> None:
    refused = run("serve", "-c", str(config), "--host", "0.0.0.0")

    assert refused.returncode == 2
    assert "api_keys_env" in refused.stderr


def test_a_cluster_that_is_not_there_is_said_at_once(config: Path) -> None:
    began_at = time.monotonic()
    refused = run("serve", "-c", str(config), "--address", f"127.0.0.1:{free_port()}")

    assert refused.returncode == 1
    assert "no Ray cluster can be joined at 127.0.0.1:" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert time.monotonic() - began_at < 60
