"""Members behind a remote HTTP API, on httpx over aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import httpx
from pydantic_core import to_json

from deployments.egress.errors import FOREIGN_ERRORS
from deployments.egress.images import ImageUrls, has_links
from deployments.providers.backend import RemoteBackend, Timeouts
from deployments.providers.base import ErrorDetails, StreamReader
from deployments.providers.errors import error_from_details, error_from_exception, error_from_response
from deployments.providers.http import UpstreamClient
from deployments.providers.lenient_json import parse_json
from deployments.providers.response_body import ResponseBody, check_media_type, media_type, read_error_body
from deployments.providers.sse import EventStream
from fusion.chat import Call, Completion, Delta
from fusion.errors import EmptyCompletion, MalformedReply, MemberError, MemberRejected, MemberTimeout
from fusion.member import Emit

_DONE = b"[DONE]"


class RemoteMember:
    """Asks one model of a remote API.

    Redirects are refused, and so are compressed responses, which are not asked for; responses are limited in bytes, and
    cookies are not kept. A response without text and without tool calls is an error. An API whose address is not public
    is sent images, never their URLs: it would fetch them from inside of a network that their author must not reach.

    Args:
        backend: the API.
        model: the model's name there.
        omits: names of `Sampling`'s settings that the model does not support and that are left out of its calls, such
            as `temperature`.
        images: fetches those images.
        client: an HTTP client of the API that other members use too; without it the member makes one of its own.
        transport: replaces the network of the member's own client.

    Raises:
        MissingSecret: at construction, when the API key is not where the configuration says, or cannot be sent.
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
        self._format = backend.wire_format()
        self._client = client or backend.client(transport)

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        total_s = min(call.timeout_s, self._timeouts.total_s)
        timeout = asyncio.timeout(total_s)
        reader = self._format.stream_reader()
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
        """Closes the connections."""
        await self._client.aclose()

    async def _with_images(self, call: Call) -> Call:
        if await self._images.internet.has(self._client.host):
            return call
        return replace(call, request=await self._images.inlined(call.request))

    async def _answer(self, call: Call) -> Completion:
        path = self._format.path(self._model, stream=False)
        body = self._body(call, stream=False)
        async with self._client.post(path, body, call.trace_headers) as response:
            await self._check(response, call)
            check_media_type(response, "application/json")
            content = await ResponseBody(response).read()
        return self._format.completion(parse_json(content))

    async def _stream(self, call: Call, reader: StreamReader, emit: Emit) -> Completion:
        path = self._format.path(self._model, stream=True)
        body = self._body(call, stream=True)
        async with (
            _StreamTimeouts(self._timeouts, call) as timeouts,
            self._client.post(path, body, call.trace_headers) as response,
        ):
            await self._check(response, call)
            if media_type(response) == "application/json":
                raise await self._error_instead_of_stream(response)
            check_media_type(response, "text/event-stream")

            def on_delta(delta: Delta) -> None:
                timeouts.on_token()
                emit(delta)

            events = EventStream()
            content = ResponseBody(response)
            async for piece in content:
                if _read_events(events.feed(piece), reader, on_delta):
                    timeouts.stop()
                    await content.drain()
                    break
            else:
                _read_events(events.close(), reader, on_delta)
        return reader.completion()

    def _body(self, call: Call, *, stream: bool) -> bytes:
        if self._omitted:
            sampling = replace(call.request.sampling, **self._omitted)
            call = replace(call, request=replace(call.request, sampling=sampling))
        try:
            return to_json(self._format.body(call, self._model, stream=stream))
        except ValueError:
            raise MemberRejected("the request cannot be written as JSON") from None

    async def _check(self, response: httpx.Response, call: Call) -> None:
        """Refuses every response but an uncompressed one with the status 200."""
        if response.status_code != 200:
            details = self._format.error_details(await read_error_body(response))
            raise error_from_response(response.status_code, response.headers, details, call.member)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise MalformedReply("the reply is compressed, which was not asked for")

    async def _error_instead_of_stream(self, response: httpx.Response) -> MemberError:
        details = self._format.error_details(await read_error_body(response))
        if details == ErrorDetails():
            return MalformedReply("the reply is not an event stream")
        return error_from_details(details)


class _StreamTimeouts:
    """Limits the wait for the first token and between tokens.

    Raises:
        MemberTimeout: on exit, when a token did not arrive in time.
    """

    def __init__(self, timeouts: Timeouts, call: Call) -> None:
        self._idle_s = timeouts.idle_s
        self._member = call.member
        self._message = f"no first token within {timeouts.first_token_s:.1f} s"
        self._timeout = asyncio.timeout(timeouts.first_token_s)

    async def __aenter__(self) -> _StreamTimeouts:
        await self._timeout.__aenter__()
        return self

    def on_token(self) -> None:
        """Starts the wait for the next token."""
        self._message = f"no token for {self._idle_s:.1f} s"
        self._timeout.reschedule(asyncio.get_running_loop().time() + self._idle_s)

    def stop(self) -> None:
        """Ends the limit: no token is missing."""
        self._timeout.reschedule(None)

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise MemberTimeout(self._message, member=self._member) from error


def _of_call(error: MemberError, call: Call, reader: StreamReader) -> MemberError:
    """Adds the member's name to an error, and what the call used as far as its stream has reported it."""
    error.member = error.member or call.member
    error.usage = error.usage or reader.usage
    return error


def _checked(completion: Completion) -> Completion:
    """Refuses a completion without text and without tool calls."""
    if completion.text.strip() or completion.tool_calls:
        return completion
    error: MemberError = EmptyCompletion(f"neither text nor tool calls (finish reason {completion.finish_reason})")
    if completion.finish_reason == "content_filter":
        error = MemberRejected("the answer was withheld (content_filter)")
    error.usage = completion.usage
    raise error


def _read_events(events: Iterable[bytes], reader: StreamReader, on_delta: Emit) -> bool:
    """Feeds events to the reader and passes on their deltas. Returns whether one of them ended the stream."""
    for data in events:
        if data.strip() == _DONE:
            return True
        if data.strip() and (delta := reader.feed(parse_json(data))):
            on_delta(delta)
        if reader.ended:
            return True
    return False
