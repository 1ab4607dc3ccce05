"""The HTTP API as an ASGI application.

The chat endpoint speaks ASGI directly: it is the hot path, it streams, and it must notice at once when its client goes
away. The few others are Starlette's. Serve names every request and puts `x-request-id` on every response.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.auth import Limits, authenticate
from deployments.api.chat_request import ChatRequest, parse_chat
from deployments.api.chat_response import DONE, Envelope, event_body, fusion_body, sse
from deployments.api.errors import BodyTooLarge, error_body, error_headers, status_of
from deployments.api.models import Catalogue
from deployments.egress.images import ImageUrls
from fusion.chat import Completion, Delta, Usage
from fusion.errors import FusionError, InvalidRequest, whereabouts
from fusion.member import Emit
from fusion.presets import Preset
from fusion.progress import Progress, Watcher
from fusion.results import Fused

_JSON = (b"content-type", b"application/json")


_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


T = TypeVar("T")


_log = logging.getLogger(__name__)


class Orchestrator(Protocol):
    """What the API offers to its clients."""

    catalogue: Catalogue

    async def fuse(self, preset: Preset, chat: ChatRequest, watcher: Watcher | None, started_at: float) -> Fused: ...

    async def ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion: ...

    async def readiness(self) -> dict[str, Any]: ...


def http_api(orchestrator: Orchestrator, limits: Limits, images: ImageUrls | None = None) -> ASGIApp:
    """The application: chat completions, models, health."""
    started = int(time.time())

    async def models(request: HttpRequest) -> Response:
        authenticate(request.scope, limits)
        return _json_response(orchestrator.catalogue.models(started))

    async def model(request: HttpRequest) -> Response:
        authenticate(request.scope, limits)
        wanted = request.path_params["model"]
        for entry in orchestrator.catalogue.models(started)["data"]:
            if entry["id"] == wanted:
                return _json_response(entry)
        error = InvalidRequest(f"there is no model {wanted!r}", param="model")
        return _json_response(error_body(error), 404)

    async def alive(_: HttpRequest) -> Response:
        return _json_response({"status": "alive"})

    async def ready(_: HttpRequest) -> Response:
        state = await orchestrator.readiness()
        return _json_response(state, 200 if state["ready"] else 503)

    async def refused(_: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, FusionError)
        return _json_response(error_body(error), status_of(error), error_headers(error))

    async def unknown_path(request: HttpRequest, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        what = InvalidRequest(f"there is no {request.method} {request.url.path}")
        headers = dict(getattr(error, "headers", None) or {})
        return _json_response(error_body(what), status, headers)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", _Chat(orchestrator, limits, images or ImageUrls()), methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", model),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ],
        exception_handlers={FusionError: refused, 404: unknown_path, 405: unknown_path},
    )


class _Chat:
    """`POST /v1/chat/completions`."""

    def __init__(self, orchestrator: Orchestrator, limits: Limits, images: ImageUrls) -> None:
        self._orchestrator = orchestrator
        self._limits = limits
        self._images = images

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = asyncio.get_running_loop().time()
        REQUEST_HEADERS.set(scope["headers"])
        try:
            authenticate(scope, self._limits)
            chat = parse_chat(await _body(receive, self._limits.max_body_bytes))
            reply = self._reply(chat, _Reply(send, chat), started_at)
        except FusionError as error:
            return await _send_error(send, error)
        except _ClientGone:
            return
        await _while_connected(receive, reply)

    async def _reply(self, chat: ChatRequest, reply: _Reply, started_at: float) -> None:
        orchestrator = self._orchestrator
        try:
            member = orchestrator.catalogue.member_of(chat)
            if member is not None:
                chat = await self._checked(chat, math.inf)
                emit = reply.on_delta if chat.stream else None
                completion = await reply.of(orchestrator.ask(member, chat, emit))
                return await reply.finish(completion, completion.usage)
            preset = orchestrator.catalogue.preset_of(chat)
            chat = await self._checked(chat, started_at + preset.policy.deadline_s)
            watcher = reply if chat.stream else None
            fused = await reply.of(orchestrator.fuse(preset, chat, watcher, started_at))
            fusion = fusion_body(fused, preset.name, chat.options.include)
            await reply.finish(fused.completion, fused.usage, fusion)
        except FusionError as error:
            await reply.fail(error)
        except Exception as error:
            _log.error("a request failed: %s", whereabouts(error))
            await reply.fail(FusionError(f"an internal error ({type(error).__name__})"))

    async def _checked(self, chat: ChatRequest, ends_at: float) -> ChatRequest:
        """The request with image URLs that may be passed on."""
        request = await self._images.checked(chat.request, ends_at)
        return chat if request is chat.request else replace(chat, request=request)


class _Reply:
    """One response under way. It is the request's watcher: what it is told goes out as the client can take it."""

    def __init__(self, send: Send, chat: ChatRequest) -> None:
        self._send = send
        self._chat = chat
        self._envelope = Envelope(f"chatcmpl-{uuid.uuid4().hex}", chat.model, int(time.time()), chat.reasoning_field)
        self._include = chat.options.include if chat.stream else ()
        self._pending: list[bytes] = []
        self._wake = asyncio.Event()
        self._opened = False
        self._started = False
        self.watches_candidates = "events" in self._include and "candidates" in self._include

    def on_delta(self, delta: Delta) -> None:
        if self._chat.reasoning_field is None and not delta.text and not delta.tool_calls:
            return
        if not self._opened:
            self._opened = True
            self._pending.append(self._envelope.opening())
        self._pending.append(self._envelope.delta(delta))
        self._wake.set()

    def on_progress(self, event: Progress) -> None:
        if "events" in self._include:
            self._pending.append(self._envelope.event(event_body(event, self._include)))
            self._wake.set()

    async def of(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; what it reports on the way is sent on the way."""
        if not self._chat.stream:
            return await work
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._wake.set())
        try:
            while not task.done():
                await self._wake.wait()
                self._wake.clear()
                await self._flush()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def finish(self, completion: Completion, usage: Usage | None, fusion: dict[str, Any] | None = None) -> None:
        if not self._chat.stream:
            return await _send(self._send, 200, to_json(self._envelope.completion(completion, usage, fusion)), [_JSON])
        include_usage = self._chat.include_usage
        self._pending.append(self._envelope.closing(completion, usage, fusion, include_usage=include_usage))
        await self._flush(last=True)

    async def fail(self, error: FusionError) -> None:
        """A status of its own while nothing was sent, else an error event."""
        if not self._started:
            return await _send_error(self._send, error)
        self._pending += [sse(error_body(error)), DONE]
        await self._flush(last=True)

    async def _flush(self, *, last: bool = False) -> None:
        if not self._pending and not last:
            return
        if not self._started:
            self._started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        content, self._pending = b"".join(self._pending), []
        await self._send({"type": "http.response.body", "body": content, "more_body": not last})


class _ClientGone(Exception):
    """The client hung up before its request was complete."""


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and cancel it as soon as the client goes away."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
    if not working.cancelled():
        working.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, media_type="application/json")


async def _send_error(send: Send, error: FusionError) -> None:
    headers = [(name.encode(), value.encode()) for name, value in error_headers(error).items()]
    await _send(send, status_of(error), to_json(error_body(error)), [_JSON, *headers])


async def _send(
    send: Callable[[Message], Awaitable[None]], status: int, content: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    sized = [*headers, (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": content, "more_body": False})


REQUEST_HEADERS: ContextVar[Iterable[tuple[bytes, bytes]]] = ContextVar("request_headers", default=())
