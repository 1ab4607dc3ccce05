"""Members behind a remote HTTP API, on httpx over aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from pydantic_core import to_json

from deployments.egress.errors import FOREIGN_ERRORS
from deployments.egress.images import ImageUrls, has_links
from deployments.providers.anthropic.messages import AnthropicWire, is_a_copy
from deployments.providers.base import Api, Complaint, StreamReader, WireFormat
from deployments.providers.errors import error_from_complaint, error_from_exception, error_from_response
from deployments.providers.gemini.generate_content import GeminiWire
from deployments.providers.http import UpstreamClient
from deployments.providers.lenient_json import parsed
from deployments.providers.openai.chat import OpenAIWire
from deployments.providers.openai.dialects import dialect_of
from deployments.providers.sse import EventStream
from deployments.secrets import Secret
from fusion.chat import Call, Completion, Delta
from fusion.errors import EmptyCompletion, MalformedReply, MemberError, MemberRejected, MemberTimeout
from fusion.member import Emit

MAX_RESPONSE_BYTES = 32 * 1024 * 1024


MAX_ERROR_BYTES = 256 * 1024


MAX_ERROR_BODY_S = 0.5
"""How long an error's body may take: its status says most of it."""


LINGER_S = 0.1
"""How long a finished stream may take to end, so that its connection can be used again."""


_DONE = b"[DONE]"


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
    """Where a remote API is, which one it is, and how long to wait for it.

    `base_url` ends in the API's version: `https://api.openai.com/v1`, `https://api.anthropic.com/v1`,
    `https://generativelanguage.googleapis.com/v1beta`. `key` names where the API key is to be found.
    """

    base_url: str
    key: Secret | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_connections: int = 256
    api: Api = "openai"


class RemoteMember:
    """One model of a remote API.

    Redirects are refused, and so are compressed replies, which were not asked for; what is read is capped in bytes, and
    cookies are not kept. A reply without text and without tool calls is an error. An API whose address is not public is
    given images, never their URLs: it would fetch them from inside of a network that their author must not reach.

    Args:
        backend: the API.
        model: the model's name there.
        omits: names of `Sampling`'s settings that the model does not take and that are left out of its calls, such as
            `temperature` for models that refuse it.
        images: fetches those images.
        client: an HTTP client of the API that other members use too; the member makes its own where it gets none.
        transport: carries the calls of a client of its own, in the network's place.

    Raises:
        MissingSecret: at construction, when the API key is not where the configuration says, or could not be sent.
    """

    def __init__(
        self,
        backend: RemoteBackend,
        model: str,
        omits: Collection[str] = (),
        images: ImageUrls | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        client: UpstreamClient | None = None,
    ) -> None:
        self._model = model
        self._images = images or ImageUrls()
        self._timeouts = backend.timeouts
        self._omitted: dict[str, Any] = dict.fromkeys(omits)
        self._wire = wire_format(backend)
        self._client = client or upstream_client(backend, transport)

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        total_s = min(call.timeout_s, self._timeouts.total_s)
        timeout = asyncio.timeout(total_s)
        reader = self._wire.reader()
        try:
            async with timeout:
                if has_links(call.request):
                    call = await self._with_images(call)
                return _checked(await (self._answer(call) if emit is None else self._stream(call, reader, emit)))
        except MemberError as error:
            raise _of_call(error, call, reader) from error.__cause__
        except FOREIGN_ERRORS as error:
            late = MemberTimeout(f"no answer within {total_s:.1f} s") if timeout.expired() else None
            raise _of_call(late or error_from_exception(error, call.member), call, reader) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _with_images(self, call: Call) -> Call:
        if await self._images.internet.has(self._client.host):
            return call
        return replace(call, request=await self._images.inlined(call.request))

    async def _answer(self, call: Call) -> Completion:
        path = self._wire.path(self._model, stream=False)
        body = self._body(call, stream=False)
        async with self._client.post(path, body, call.trace_headers) as response:
            await self._check(response, call)
            _check_type(response, "application/json")
            content = b"".join([piece async for piece in _Body(response)])
        return self._wire.completion(parsed(content))

    async def _stream(self, call: Call, reader: StreamReader, emit: Emit) -> Completion:
        path = self._wire.path(self._model, stream=True)
        body = self._body(call, stream=True)
        async with (
            _Patience(self._timeouts, call) as patience,
            self._client.post(path, body, call.trace_headers) as response,
        ):
            await self._check(response, call)
            if _media_type(response) == "application/json":
                raise await self._error_instead_of_stream(response)
            _check_type(response, "text/event-stream")

            def hear(delta: Delta) -> None:
                patience.token_came()
                emit(delta)

            stream = EventStream()
            pieces = _Body(response)
            async for piece in pieces:
                if _is_over(stream.feed(piece), reader, hear):
                    patience.end()
                    await _let_end(pieces)
                    break
            else:
                _is_over(stream.close(), reader, hear)
        return reader.completion()

    def _body(self, call: Call, *, stream: bool) -> bytes:
        if self._omitted:
            sampling = replace(call.request.sampling, **self._omitted)
            call = replace(call, request=replace(call.request, sampling=sampling))
        try:
            return to_json(self._wire.body(call, self._model, stream=stream))
        except ValueError:
            raise MemberRejected("the request cannot be written as JSON") from None

    async def _check(self, response: httpx.Response, call: Call) -> None:
        """Refuse whatever is not a plain 200."""
        if response.status_code != 200:
            complaint = self._wire.complaint(await _error_body(response))
            raise error_from_response(response.status_code, response.headers, complaint, call.member)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise MalformedReply("the reply is compressed, which was not asked for")

    async def _error_instead_of_stream(self, response: httpx.Response) -> MemberError:
        complaint = self._wire.complaint(await _error_body(response))
        if complaint == Complaint():
            return MalformedReply("the reply is not an event stream")
        return error_from_complaint(complaint)


def upstream_client(backend: RemoteBackend, transport: httpx.AsyncBaseTransport | None = None) -> UpstreamClient:
    """An HTTP client of the backend's API, with its key; the members of the backend can share it.

    Raises:
        MissingSecret: the API key is not where the configuration says, or could not be sent.
    """
    key = None if backend.key is None else backend.key.header_value()
    return UpstreamClient(
        backend.base_url.rstrip("/") + "/",
        {**wire_format(backend).headers(key), "content-type": "application/json", "accept-encoding": "identity"},
        connect_s=backend.timeouts.connect_s,
        max_connections=backend.max_connections,
        transport=transport,
    )


def wire_format(backend: RemoteBackend) -> WireFormat:
    """The format that a backend speaks."""
    match backend.api:
        case "openai":
            return OpenAIWire(dialect_of(backend.base_url))
        case "anthropic":
            return AnthropicWire(copy=is_a_copy(backend.base_url))
        case "gemini":
            return GeminiWire()


class _Patience:
    """Times the wait for the first token and between tokens."""

    def __init__(self, timeouts: Timeouts, call: Call) -> None:
        self._idle_s = timeouts.idle_s
        self._member = call.member
        self._waits_for = f"no first token within {timeouts.first_token_s:.1f} s"
        self._timeout = asyncio.timeout(timeouts.first_token_s)

    async def __aenter__(self) -> _Patience:
        await self._timeout.__aenter__()
        return self

    def token_came(self) -> None:
        self._waits_for = f"no token for {self._idle_s:.1f} s"
        self._timeout.reschedule(asyncio.get_running_loop().time() + self._idle_s)

    def end(self) -> None:
        self._timeout.reschedule(None)

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise MemberTimeout(self._waits_for, member=self._member) from error


def _of_call(error: MemberError, call: Call, reader: StreamReader) -> MemberError:
    """The error with whose it is, and with what the call used as far as its stream told before."""
    error.member = error.member or call.member
    error.usage = error.usage or reader.usage
    return error


def _checked(completion: Completion) -> Completion:
    if completion.text.strip() or completion.tool_calls:
        return completion
    error: MemberError = EmptyCompletion(f"neither text nor tool calls (finish reason {completion.finish_reason})")
    if completion.finish_reason == "content_filter":
        error = MemberRejected("the answer was withheld (content_filter)")
    error.usage = completion.usage
    raise error


def _media_type(response: httpx.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_type(response: httpx.Response, wanted: str) -> None:
    if _media_type(response) != wanted:
        raise MalformedReply(f"the reply is not {wanted}")


def _is_over(found: Iterable[bytes], reader: StreamReader, hear: Emit) -> bool:
    """Hand on what the events say; whether one of them was the last, as the provider marks it."""
    for data in found:
        if data.strip() == _DONE:
            return True
        if data.strip() and (delta := reader.feed(parsed(data))):
            hear(delta)
        if reader.ended:
            return True
    return False


class _Body:
    """A response's body in the pieces it comes in, up to a limit. Reading can be taken up where it was left."""

    def __init__(self, response: httpx.Response, most: int = MAX_RESPONSE_BYTES) -> None:
        self._pieces = response.aiter_raw()
        self._most = most
        self._size = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._size += len(piece)
        if self._size > self._most:
            raise MalformedReply(f"the reply is larger than {self._most} bytes")
        return piece


async def _error_body(response: httpx.Response) -> object:
    """The document in an error's body, None when there is none to be read in it soon."""
    with suppress(MalformedReply, *FOREIGN_ERRORS):
        async with asyncio.timeout(MAX_ERROR_BODY_S):
            return parsed(b"".join([piece async for piece in _Body(response, MAX_ERROR_BYTES)]))


async def _let_end(pieces: _Body) -> None:
    """Read what is left of a response that has said all; only then does the connection live on."""
    with suppress(MalformedReply, *FOREIGN_ERRORS):
        async with asyncio.timeout(LINGER_S):
            async for _ in pieces:
                pass
