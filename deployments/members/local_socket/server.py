"""A replica's end of the sockets over which judges on the same machine call it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Protocol

from ray import serve

from deployments.members.local_socket.paths import listening_in, sockets_of
from deployments.members.local_socket.protocol import Frames, Kind, this_cluster
from deployments.members.pickling import packed, unpacked
from fusion.chat import Call


class Callee(Protocol):
    """What answers the calls: `MemberReplica`'s own two methods."""

    async def ask(self, call: Call) -> Any: ...

    def watch(self, call: Call) -> AsyncGenerator[Any, None]: ...


class LocalServer:
    """Listens in a folder for calls to a replica, and takes at most `max_ongoing` of them at once. Callers send what it
    refuses through the handle, where Serve queues it. `name` is the replica's unique id."""

    def __init__(self, callee: Callee, folder: Path, name: str, max_ongoing: int) -> None:
        self.callee = callee
        self.running: set[asyncio.Task[None]] = set()
        self.closing = False
        self.connections: set[_Connection] = set()
        self._max_ongoing = max_ongoing
        self._path = folder / name
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to listen."""
        listening = listening_in(self._path.parent, self._path.name)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(self), sock=listening)

    async def close(self) -> None:
        """Take no more calls, and wait for those under way. Serve bounds the time that its replicas have for it."""
        self.closing = True
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        for connection in self.connections:
            connection.send(Kind.CLOSING, 0)
        if self.running:
            await asyncio.wait(self.running)
        if self._server is not None:
            self._server.close()
        for connection in [*self.connections]:
            connection.close()

    @property
    def has_room(self) -> bool:
        return not self.closing and len(self.running) < self._max_ongoing


def listen(callee: Callee, max_ongoing: int) -> LocalServer | None:
    """Open the socket of the replica that this process is, in the running event loop; None where there can be none."""
    context = serve.get_replica_context()
    folder = sockets_of(this_cluster(), context.app_name, context.deployment)
    if folder is None:
        return None
    server = LocalServer(callee, folder, context.replica_id.unique_id, max_ongoing)
    _OPENING.add(asyncio.get_running_loop().create_task(server.open()))
    return server


_OPENING: set[asyncio.Task[None]] = set()
"""Held so that they are not collected while they run."""


class _Connection(Frames):
    """One caller. Its calls are cancelled when it disconnects."""

    def __init__(self, server: LocalServer) -> None:
        super().__init__()
        self._server = server
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.connections.discard(self)
        for task in self._tasks.values():
            task.cancel()

    def frame(self, kind: int, number: int, body: bytes) -> None:
        if kind == Kind.CANCEL:
            if number in self._tasks:
                self._tasks[number].cancel()
        elif not self._server.has_room:
            self.send(Kind.REFUSED, number)
        else:
            call: Call = unpacked(body)
            answering = self._watch(call, number) if kind == Kind.WATCH else self._ask(call, number)
            task = asyncio.get_running_loop().create_task(answering)
            self._tasks[number] = task
            self._server.running.add(task)
            task.add_done_callback(lambda done: self._ended(number, done))

    async def _ask(self, call: Call, number: int) -> None:
        self.send(Kind.OUTCOME, number, packed(await self._server.callee.ask(call)))

    async def _watch(self, call: Call, number: int) -> None:
        async with contextlib.aclosing(self._server.callee.watch(call)) as items:
            async for item in items:
                content = packed(item)
                self.send(Kind.DELTAS if isinstance(item, tuple) else Kind.OUTCOME, number, content)

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        """Answer for a call that ended without an outcome too, such as one that cancelled itself."""
        del self._tasks[number]
        self._server.running.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.send(Kind.OUTCOME, number, packed(None))
