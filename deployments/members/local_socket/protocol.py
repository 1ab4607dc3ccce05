"""Frames on a Unix socket.

A replica of a remote backend on the same machine can be called without Ray: a call through a handle costs more than a
millisecond of CPU on either side, a frame some hundredths of one (docs/decisions/0020-a-socket-on-the-same-machine.md).

    judge ──► Ask, Watch: a call                              ──► replica
          ──► Cancel
          ◄── Deltas, Outcome                                 ◄──
          ◄── Refused: the replica is full, use the handle    ◄──
          ◄── Closing: no more calls                          ◄──
"""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum
from typing import Any, cast

import ray

_HEAD = struct.Struct("<IBQ")


MAX_FRAME_BYTES = 1 << 30


class Kind(IntEnum):
    """The kind of a frame."""

    ASK = 1
    WATCH = 2
    CANCEL = 3
    DELTAS = 4
    OUTCOME = 5
    REFUSED = 6
    CLOSING = 7


class Frames(asyncio.Protocol):
    """One end of a connection. Every frame has a kind, its call's number, and a body."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        at = 0
        while len(received) - at >= _HEAD.size:
            length, kind, number = _HEAD.unpack_from(received, at)
            if length > MAX_FRAME_BYTES:
                return self.close()
            begins = at + _HEAD.size
            if len(received) - begins < length:
                break
            at = begins + length
            self.frame(kind, number, bytes(received[begins:at]))
        del received[:at]

    def frame(self, kind: int, number: int, body: bytes) -> None:
        """Handle one complete frame."""
        raise NotImplementedError

    def send(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Send a frame. Does nothing once the connection is lost, of which `connection_lost` is called."""
        if self._transport is not None:
            self._transport.write(_HEAD.pack(len(body), kind, number) + body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def this_cluster() -> str:
    """The address of this process's Ray cluster, which tells it from others on the machine."""
    return cast("Any", ray.get_runtime_context()).gcs_address
