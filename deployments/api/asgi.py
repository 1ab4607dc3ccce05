"""Reads requests and sends responses over ASGI, and stops work when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pydantic_core import to_json
from starlette.types import Receive, Send

from deployments.api.errors import BodyTooLarge, error_body, error_headers, status_of
from fusion.errors import FusionError

_JSON = (b"content-type", b"application/json")


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete."""


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """Reads a request's body.

    Raises:
        BodyTooLarge: it is larger than `max_bytes`.
        ClientDisconnected: it did not arrive.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Awaits the work, and cancels it as soon as the client disconnects. The request's body has been read."""
    working = asyncio.create_task(work)
    disconnecting = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait([working, disconnecting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        disconnecting.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
    if not working.cancelled():
        working.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_json(send: Send, body: Any, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Sends a whole response."""
    content = to_json(body)
    sized = [_JSON, *(headers or ()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def send_error(send: Send, error: FusionError) -> None:
    """Sends an error as a whole response."""
    headers = [(name.encode(), value.encode()) for name, value in error_headers(error).items()]
    await send_json(send, error_body(error), status_of(error), headers)
