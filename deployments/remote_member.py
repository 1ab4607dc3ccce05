"""Members behind an OpenAI-compatible HTTP API, on httpx over aiohttp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

from deployments.openai_wire import StreamReader, chat_body, completion_from
from deployments.secrets import Secret
from deployments.upstream_errors import error_from_exception, error_from_response
from fusion.errors import MalformedReply, MemberTimeout
from fusion.member import Emit
from fusion.values import Call, Completion

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
_DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds allowed for connecting, for the first token, between tokens, and for a whole call. The request's own
    deadline caps them all."""

    connect_s: float = 5.0
    first_token_s: float = 30.0
    idle_s: float = 20.0
    total_s: float = 120.0


@dataclass(frozen=True, slots=True)
class RemoteBackend:
    """Where a remote API is and how long to wait for it. `key` names where the API key is to be found."""

    base_url: str
    key: Secret | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_connections: int = 256


class RemoteMember:
    """One model of an OpenAI-compatible API. Redirects are refused, and responses are capped in bytes.

    Raises:
        MissingSecret: at construction, when the API key is not where the configuration says.
    """

    def __init__(self, backend: RemoteBackend, model: str) -> None:
        self._model = model
        self._timeouts = backend.timeouts
        headers = {"accept-encoding": "gzip, deflate"}
        if backend.key is not None:
            headers["authorization"] = f"Bearer {backend.key.read()}"
        self._client = HttpxAiohttpClient(
            base_url=backend.base_url.rstrip("/") + "/",
            headers=headers,
            timeout=httpx.Timeout(None, connect=backend.timeouts.connect_s),
            limits=httpx.Limits(max_connections=backend.max_connections),
            follow_redirects=False,
            trust_env=False,
        )

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        total_s = min(call.timeout_s, self._timeouts.total_s)
        try:
            async with asyncio.timeout(total_s):
                return await (self._answer(call) if emit is None else self._stream(call, emit))
        except TimeoutError as error:
            raise MemberTimeout(f"no answer within {total_s:.1f} s", member=call.member) from error
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
            raise error_from_exception(error, call.member) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _answer(self, call: Call) -> Completion:
        body = chat_body(call, self._model, stream=False)
        async with self._client.stream("POST", "chat/completions", json=body) as response:
            content = await _read(response)
            if response.status_code != 200:
                raise error_from_response(response.status_code, response.headers, content, call.member)
        return completion_from(_json(content))

    async def _stream(self, call: Call, emit: Emit) -> Completion:
        reader = StreamReader()
        body = chat_body(call, self._model, stream=True)
        async with _Patience(self._timeouts, call) as patience:
            async with self._client.stream("POST", "chat/completions", json=body) as response:
                if response.status_code != 200:
                    content = await _read(response)
                    raise error_from_response(response.status_code, response.headers, content, call.member)
                if "text/event-stream" not in response.headers.get("content-type", ""):
                    raise MalformedReply("the reply is not an event stream", member=call.member)
                async for data in _events(response):
                    if data == _DONE:
                        break
                    if delta := reader.feed(_json(data)):
                        patience.token_came()
                        emit(delta)
        return reader.completion()


class _Patience:
    """Times the wait for the first token and between tokens."""

    def __init__(self, timeouts: Timeouts, call: Call) -> None:
        self._idle_s = timeouts.idle_s
        self._first_token_s = timeouts.first_token_s
        self._member = call.member
        self._waits_for = f"no first token within {timeouts.first_token_s:.1f} s"
        self._timeout = asyncio.timeout(timeouts.first_token_s)

    async def __aenter__(self) -> _Patience:
        await self._timeout.__aenter__()
        return self

    def token_came(self) -> None:
        self._waits_for = f"no token for {self._idle_s:.1f} s"
        self._timeout.reschedule(asyncio.get_running_loop().time() + self._idle_s)

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise MemberTimeout(self._waits_for, member=self._member) from error


async def _read(response: httpx.Response) -> bytes:
    parts = [part async for part in _capped(response.aiter_bytes())]
    return b"".join(parts)


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of each server-sent event. Chat completions put a whole JSON document on one data line."""
    buffer = b""
    async for part in _capped(response.aiter_bytes()):
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode(errors="replace")
    if buffer.startswith(b"data:"):
        yield buffer[5:].strip().decode(errors="replace")


async def _capped(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for part in parts:
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            raise MalformedReply(f"the reply is larger than {MAX_RESPONSE_BYTES} bytes")
        yield part


def _json(content: bytes | str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedReply("the reply is not JSON") from error
