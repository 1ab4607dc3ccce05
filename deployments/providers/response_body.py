"""Checks and reads the bodies of HTTP responses, each within a limit of bytes and of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx

from deployments.egress.errors import FOREIGN_ERRORS
from deployments.providers.lenient_json import parse_json
from fusion.errors import MalformedReply

MAX_RESPONSE_BYTES = 32 * 1024 * 1024

MAX_ERROR_BYTES = 256 * 1024

MAX_ERROR_BODY_S = 0.5
"""How long to wait for an error's body: the status says most of it."""

DRAIN_S = 0.1
"""How long to wait for the end of a finished stream, so that its connection can be used again."""


class ResponseBody:
    """Iterates over a response's body as it arrives. An interrupted iteration can be continued.

    Raises:
        MalformedReply: the body is larger than `max_bytes`.
    """

    def __init__(self, response: httpx.Response, max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._pieces = response.aiter_raw()
        self._max_bytes = max_bytes
        self._size = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise MalformedReply(f"the reply is larger than {self._max_bytes} bytes")
        return piece

    async def read(self) -> bytes:
        """Returns the rest of the body."""
        return b"".join([piece async for piece in self])

    async def drain(self) -> None:
        """Reads to the end of a response that needs no more of it, for `DRAIN_S` at most."""
        with suppress(MalformedReply, *FOREIGN_ERRORS):
            async with asyncio.timeout(DRAIN_S):
                async for _ in self:
                    pass


async def read_error_body(response: httpx.Response) -> object:
    """Returns the JSON document in an error's body, None when none arrives in time."""
    with suppress(MalformedReply, *FOREIGN_ERRORS):
        async with asyncio.timeout(MAX_ERROR_BODY_S):
            return parse_json(await ResponseBody(response, MAX_ERROR_BYTES).read())


def media_type(response: httpx.Response) -> str:
    """Returns the media type of a response, without parameters and in lower case."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_media_type(response: httpx.Response, expected: str) -> None:
    """Refuses a response of another media type.

    Raises:
        MalformedReply: it has another one.
    """
    if media_type(response) != expected:
        raise MalformedReply(f"the reply is not {expected}")
