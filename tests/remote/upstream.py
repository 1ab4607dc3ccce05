"""An HTTP server in this process that answers in raw bytes, so that it can misbehave in any way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing more, and wait until the client goes away."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection off."""


@dataclass(frozen=True, slots=True)
class Close:
    """Say that nothing more will come, and hang up."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for a while."""

    for_s: float


Action = bytes | Stall | Reset | Close | Pause


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    line: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Upstream:
    """What it does for each request, and what it saw. `working` is how many requests it is at."""

    actions: Callable[[Asked], Iterable[Action]]
    asked: list[Asked] = field(default_factory=list[Asked])
    connections: int = 0
    open: int = 0
    working: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    host: str = "127.0.0.1"
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *fields = head.decode().rstrip("\r\n").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.asked.append(Asked(line, headers, json.loads(body or b"null")))
                self.came.set()
                self.working += 1
                try:
                    for action in self.actions(self.asked[-1]):
                        if not await _done(action, reader, writer):
                            return
                finally:
                    self.working -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self.left.set()
            writer.close()


async def _done(action: Action, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Do it; whether the connection lives on."""
    match action:
        case bytes():
            writer.write(action)
            await writer.drain()
            return True
        case Pause(for_s):
            with suppress(TimeoutError):
                async with asyncio.timeout(for_s):
                    await reader.read()
                return False
            return True
        case Stall():
            await reader.read()
        case Reset():
            writer.transport.abort()
        case Close():
            pass
    return False


@asynccontextmanager
async def upstream(
    *actions: Action, by: Callable[[Asked], Iterable[Action]] | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Upstream]:
    """A server that does this for every request, or what `by` makes of each."""
    served = Upstream(by or (lambda _: actions), host=host)
    server = await asyncio.start_server(served.serve, host, 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        while served.open:
            served.left.clear()
            await asyncio.wait_for(served.left.wait(), 5)


def reply(body: bytes | object, status: str = "200 OK", **headers: str) -> bytes:
    """A whole response; what is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {text}" for name, text in fields.items())]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


OPENING = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def streamed(content: bytes, pieces_of: int | None = None) -> list[Action]:
    """A whole event stream, in pieces of so many bytes."""
    size = pieces_of or len(content)
    return [OPENING, *(chunk(content[i : i + size]) for i in range(0, len(content), size)), END]
