"""The asking end of the sockets of one deployment's replicas."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from deployments.members.local_socket.protocol import Frames, Kind
from deployments.members.pickling import packed, unpacked
from fusion.chat import Call, Delta
from fusion.member import Emit

LOOK_AGAIN_S = 1.0


class NotHere(Exception):
    """No replica on this machine takes the call now: it has to go through the handle."""


class Gone(Exception):
    """The replica's socket broke off when the call was under way. `emitted` says whether a part of the answer had come
    by then."""

    def __init__(self, *, emitted: bool) -> None:
        super().__init__()
        self.emitted = emitted


class LocalReplicas:
    """A deployment's replicas on this machine. Calls go to the one with the fewest under way from here.

    New sockets are looked for about once a second, when there is a call.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._channels: dict[str, _Channel] = {}
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """Whether there is a replica here that takes calls, as far as is known."""
        return any(channel.open for channel in self._channels.values())

    async def ask(self, call: Call, emit: Emit | None) -> object:
        """What the replica made of the call: its outcome, whatever that is.

        Raises:
            NotHere: no replica here takes it.
            Gone: the replica ended.
        """
        channel = self._freest()
        if channel is None:
            raise NotHere
        return await channel.ask(call, emit)

    def _freest(self) -> _Channel | None:
        now = asyncio.get_running_loop().time()
        if self._looked_at is None or now - self._looked_at > LOOK_AGAIN_S:
            self._looked_at = now
            if self._looking is None or self._looking.done():
                self._looking = asyncio.get_running_loop().create_task(self._look())
        freest: _Channel | None = None
        for channel in self._channels.values():
            if channel.open and (freest is None or channel.under_way < freest.under_way):
                freest = channel
        return freest

    async def _look(self) -> None:
        """Connect to sockets that are new, and forget those that are gone."""
        for name, channel in [*self._channels.items()]:
            if not channel.connected:
                del self._channels[name]
        for path in self._sockets():
            if path.name not in self._channels:
                try:
                    _, channel = await asyncio.get_running_loop().create_unix_connection(_Channel, str(path))
                except ConnectionRefusedError:  # its replica died without a word
                    path.unlink(missing_ok=True)
                except OSError:
                    continue
                else:
                    self._channels[path.name] = channel

    def _sockets(self) -> list[Path]:
        try:
            return [*self._folder.iterdir()]
        except FileNotFoundError:  # nobody has listened here for a while
            return []


class _Channel(Frames):
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
        return self.connected and not self._closing

    @property
    def under_way(self) -> int:
        return len(self._calls)

    async def ask(self, call: Call, emit: Emit | None) -> object:
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
                outcome.set_exception(Gone(emitted=number in self._emitted))

    def frame(self, kind: int, number: int, body: bytes) -> None:
        if kind == Kind.CLOSING:
            self._closing = True
            return
        outcome = self._calls.get(number)
        if outcome is None or outcome.done():  # cancelled
            return
        if kind == Kind.REFUSED:
            outcome.set_exception(NotHere())
        elif kind == Kind.DELTAS:
            emit = self._emits[number]
            self._emitted.add(number)
            for delta in cast("tuple[Delta, ...]", unpacked(body)):
                emit(delta)
        else:
            outcome.set_result(unpacked(body))
