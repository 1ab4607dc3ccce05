"""The judge's end of the sockets to one deployment's replicas on the same machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from deployments.members.local_socket.known_replicas import KnownReplicas
from deployments.members.local_socket.protocol import Frames, Kind
from deployments.members.pickling import packed, unpacked
from fusion.chat import Call, Delta
from fusion.member import Emit

RESCAN_S = 1.0


class ReplicaFull(Exception):
    """The replica takes no further call over its socket."""


class ConnectionLost(Exception):
    """The replica's socket broke during a call. `emitted` says whether a part of the answer had come by then."""

    def __init__(self, *, emitted: bool) -> None:
        super().__init__()
        self.emitted = emitted


class LocalReplicas:
    """The sockets in a deployment's folder. New ones are looked for about once a second, when there is a call."""

    def __init__(self, folder: Path, known: KnownReplicas) -> None:
        self._folder = folder
        self._known = known
        self._connections: dict[str, Connection] = {}
        self._scanned_at: float | None = None
        self._scanning: asyncio.Task[None] | None = None

    def least_busy(self) -> Connection | None:
        """The connection with the fewest calls under way, None where no replica on this machine takes calls, as far as
        is known."""
        now = asyncio.get_running_loop().time()
        if self._scanned_at is None or now - self._scanned_at > RESCAN_S:
            self._scanned_at = now
            if self._scanning is None or self._scanning.done():
                self._scanning = asyncio.get_running_loop().create_task(self._scan())
        best: Connection | None = None
        for connection in self._connections.values():
            if connection.open and (best is None or connection.under_way < best.under_way):
                best = connection
        return best

    async def _scan(self) -> None:
        """Connect to sockets that are new, and forget those that are gone."""
        for name, connection in [*self._connections.items()]:
            if not connection.connected:
                del self._connections[name]
        for path in self._sockets():
            if path.name not in self._connections:
                try:
                    _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, str(path))
                except ConnectionRefusedError:  # its replica was killed
                    path.unlink(missing_ok=True)
                except OSError:
                    continue
                else:
                    self._connections[path.name] = connection
        self._known.set_connected(frozenset(self._connections))

    def _sockets(self) -> list[Path]:
        try:
            return [*self._folder.iterdir()]
        except FileNotFoundError:  # no replica has listened here for a while
            return []


class Connection(Frames):
    """A connection to one replica, with any number of calls under way."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, asyncio.Future[object]] = {}
        self._emits: dict[int, Emit] = {}
        self._emitted: set[int] = set()
        self._number = 0
        self._closing = False

    @property
    def open(self) -> bool:
        """Whether the replica takes calls."""
        return self.connected and not self._closing

    @property
    def under_way(self) -> int:
        return len(self._calls)

    async def ask(self, call: Call, emit: Emit | None) -> object:
        """Send a call, and return its outcome, whatever that is.

        Raises:
            ReplicaFull: the replica does not take it.
            ConnectionLost: the replica ended.
        """
        self._number = number = self._number + 1
        self._calls[number] = outcome = asyncio.get_running_loop().create_future()
        if emit is not None:
            self._emits[number] = emit
        self.send(Kind.ASK if emit is None else Kind.WATCH, number, packed(call))
        try:
            return await outcome
        except asyncio.CancelledError:
            self.send(Kind.CANCEL, number)
            raise
        finally:
            del self._calls[number]
            self._emits.pop(number, None)
            self._emitted.discard(number)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for number, outcome in self._calls.items():
            if not outcome.done():
                outcome.set_exception(ConnectionLost(emitted=number in self._emitted))

    def frame(self, kind: int, number: int, body: bytes) -> None:
        if kind == Kind.CLOSING:
            self._closing = True
            return
        outcome = self._calls.get(number)
        if outcome is None or outcome.done():  # cancelled
            return
        if kind == Kind.REFUSED:
            outcome.set_exception(ReplicaFull())
        elif kind == Kind.DELTAS:
            emit = self._emits[number]
            self._emitted.add(number)
            for delta in cast("tuple[Delta, ...]", unpacked(body)):
                emit(delta)
        else:
            outcome.set_result(unpacked(body))
