"""HAProxy itself, started as Serve does it, and killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.serving import haproxy_standby as stand_in

_TEMPLATE = """global
    stats socket {admin} mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend prometheus
    bind :{metrics}
    http-request return status 200
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend {backend}
backend default_backend
    http-request return status 404
backend app
{server}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Place:
    """A folder as Serve gives one to HAProxy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "haproxy.cfg"
        self.port, self.metrics = free_port(), free_port()
        self.started: list[Process] = []

    async def start(self, replica: int | None, *arguments: str) -> Process:
        server = "" if replica is None else f"    server r 127.0.0.1:{replica}"
        self.file.write_text(
            _TEMPLATE.format(
                admin=self.folder / "admin.sock",
                metrics=self.metrics,
                port=self.port,
                backend="default_backend" if replica is None else "app",
                server=server,
            )
        )
        run = "from cluster.serving.haproxy import main; main()"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", run, "-db", "-f", str(self.file), "-dR", *arguments, start_new_session=True
        )
        self.started.append(process)
        await until(lambda: self.admin_pid(process.pid))
        return process

    async def admin_pid(self, pid: int) -> bool:
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "admin.sock"))
        writer.write(b"show info\n")
        said = (await reader.read()).decode()
        writer.close()
        return f"Pid: {pid}\n" in said

    async def status(self) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = (await reader.read()).decode()
        writer.close()
        return int(said.split(" ")[1])


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if await holds():
                    return
            except (OSError, IndexError):
                pass
            await asyncio.sleep(0.02)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


@asynccontextmanager
async def replica() -> AsyncIterator[int]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    if pid := stand_in.standing_in(tmp_path):
        os.kill(pid, signal.SIGKILL)
    for process in place.started:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if pid := stand_in.standing_in(tmp_path):
        os.kill(pid, signal.SIGKILL)


async def stands_in(place: Place) -> bool:
    return stand_in.standing_in(place.folder) is not None


async def nobody_stands_in(place: Place) -> bool:
    return stand_in.standing_in(place.folder) is None


async def test_a_killed_haproxy_has_a_stand_in_until_another_one_knows_of_replicas(place: Place) -> None:
    async with replica() as port:
        killed = await place.start(port)
        assert await place.status() == 200
        await guarded(killed.pid)
        killed.kill()
        await until(lambda: stands_in(place))
        await until(lambda: is_ok(place))

        # As a new actor does it: first without any replica, then anew with those that it was told of.
        empty = await place.start(None)
        assert [await place.status() for _ in range(20)] == [200] * 20
        full = await place.start(port, "-sf", str(empty.pid))
        await until(lambda: nobody_stands_in(place))
        assert [await place.status() for _ in range(20)] == [200] * 20
        assert full.returncode is None
        await empty.wait()


async def test_a_haproxy_that_was_relieved_has_no_stand_in(place: Place) -> None:
    async with replica() as port:
        first = await place.start(port)
        await guarded(first.pid)
        await place.start(port, "-sf", str(first.pid))
        await first.wait()
        await until(lambda: no_guard(first.pid))
        assert await nobody_stands_in(place)
        assert await place.status() == 200


async def is_ok(place: Place) -> bool:
    return await place.status() == 200


async def guarded(pid: int) -> None:
    """Wait until the guard of a HAProxy has got hold of it."""

    def holds() -> bool:
        return any("pidfd" in str(file.readlink()) for file in Path(f"/proc/{guard_of(pid)}/fd").iterdir())

    await until(partial(asyncio.to_thread, holds))


async def no_guard(pid: int) -> bool:
    return guard_of(pid) is None


def guard_of(pid: int) -> int | None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"cluster.serving.haproxy_standby" in arguments and str(pid).encode() in arguments:
            return int(process.name)
    return None


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_who_listens_where(port: int, metrics: int) -> None:
    whole = _TEMPLATE.format(
        admin="/a.sock", metrics=metrics, port=port, backend="app", server="    server r 127.0.0.1:1"
    )
    front, rest = stand_in.fronts_alone(whole), stand_in.without_front(whole)
    assert re.findall(r"^\s+(bind|stats socket) (\S+)", front, re.MULTILINE) == [("bind", f"127.0.0.1:{port}")]
    assert re.findall(r"^\s+(bind|stats socket) (\S+)", rest, re.MULTILINE) == [
        ("stats socket", "/a.sock"),
        ("bind", f":{metrics}"),
    ]
    assert stand_in.knows_replicas(front)
