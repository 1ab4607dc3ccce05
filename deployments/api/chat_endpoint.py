"""`POST /v1/chat/completions`, directly on ASGI: it is the hot path, it streams, and it must notice at once when its
client disconnects."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from deployments.api.asgi import ClientDisconnected, read_body, run_while_connected, send_error, send_json
from deployments.api.auth import Limits, authenticate
from deployments.api.chat_request import ChatRequest, parse_chat
from deployments.api.chat_response import DONE, Envelope, event_body, fusion_body, sse
from deployments.api.errors import error_body
from deployments.api.models import Catalogue
from deployments.egress.images import ImageUrls
from fusion.chat import Completion, Delta, Usage
from fusion.errors import FusionError, whereabouts
from fusion.member import Emit
from fusion.presets import Preset
from fusion.progress import Progress, Watcher
from fusion.results import Fused

_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

REQUEST_HEADERS: ContextVar[Iterable[tuple[bytes, bytes]]] = ContextVar("request_headers", default=())
"""The headers of the request that is being answered."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Orchestrator(Protocol):
    """What answers the API's requests."""

    catalogue: Catalogue

    async def fuse(self, preset: Preset, chat: ChatRequest, watcher: Watcher | None, started_at: float) -> Fused:
        """Answers a request by a panel. `started_at` is when it arrived, in the loop's time.

        Raises:
            FusionError: there is no answer.
        """
        ...

    async def ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        """Answers a request by one member alone.

        Raises:
            FusionError: there is no answer.
        """
        ...

    async def readiness(self) -> dict[str, Any]:
        """Returns the body of `GET /readyz`, which has a boolean `ready`."""
        ...


class ChatEndpoint:
    """Answers chat completion requests, streamed or whole."""

    def __init__(self, orchestrator: Orchestrator, limits: Limits, images: ImageUrls) -> None:
        self._orchestrator = orchestrator
        self._limits = limits
        self._images = images

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = asyncio.get_running_loop().time()
        REQUEST_HEADERS.set(scope["headers"])
        try:
            authenticate(scope, self._limits)
            chat = parse_chat(await read_body(receive, self._limits.max_body_bytes))
            answering = self._answer(chat, _Response(send, chat), started_at)
        except FusionError as error:
            return await send_error(send, error)
        except ClientDisconnected:
            return
        await run_while_connected(receive, answering)

    async def _answer(self, chat: ChatRequest, response: _Response, started_at: float) -> None:
        orchestrator = self._orchestrator
        try:
            member = orchestrator.catalogue.member_of(chat)
            if member is not None:
                chat = await self._with_checked_images(chat, math.inf)
                emit = response.on_delta if chat.stream else None
                completion = await response.streaming(orchestrator.ask(member, chat, emit))
                return await response.finish(completion, completion.usage)
            preset = orchestrator.catalogue.preset_of(chat)
            chat = await self._with_checked_images(chat, started_at + preset.policy.deadline_s)
            watcher = response if chat.stream else None
            fused = await response.streaming(orchestrator.fuse(preset, chat, watcher, started_at))
            fusion = fusion_body(fused, preset.name, chat.options.include)
            await response.finish(fused.completion, fused.usage, fusion)
        except FusionError as error:
            await response.fail(error)
        except Exception as error:
            _log.error("a request failed: %s", whereabouts(error))
            await response.fail(FusionError(f"an internal error ({type(error).__name__})"))

    async def _with_checked_images(self, chat: ChatRequest, ends_at: float) -> ChatRequest:
        request = await self._images.checked(chat.request, ends_at)
        return chat if request is chat.request else replace(chat, request=request)


class _Response:
    """Writes one response. As the request's watcher it queues deltas and events, which are sent as the client can take
    them."""

    def __init__(self, send: Send, chat: ChatRequest) -> None:
        self._send = send
        self._chat = chat
        self._envelope = Envelope(f"chatcmpl-{uuid.uuid4().hex}", chat.model, int(time.time()), chat.reasoning_field)
        self._include = chat.options.include if chat.stream else ()
        self._pending: list[bytes] = []
        self._wake = asyncio.Event()
        self._has_opening = False
        self._has_head = False
        self.watches_candidates = "events" in self._include and "candidates" in self._include

    def on_delta(self, delta: Delta) -> None:
        if self._chat.reasoning_field is None and not delta.text and not delta.tool_calls:
            return
        if not self._has_opening:
            self._has_opening = True
            self._pending.append(self._envelope.opening())
        self._pending.append(self._envelope.delta(delta))
        self._wake.set()

    def on_progress(self, event: Progress) -> None:
        if "events" in self._include:
            self._pending.append(self._envelope.event(event_body(event, self._include)))
            self._wake.set()

    async def streaming(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns the work's result. Of a streamed response, what the work reports is sent while it runs."""
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
        """Sends the answer, or what of it has not been streamed."""
        if not self._chat.stream:
            return await send_json(self._send, self._envelope.completion(completion, usage, fusion))
        include_usage = self._chat.include_usage
        self._pending.append(self._envelope.closing(completion, usage, fusion, include_usage=include_usage))
        await self._flush(last=True)

    async def fail(self, error: FusionError) -> None:
        """Sends an error: with its own status while nothing has been sent, else as an event."""
        if not self._has_head:
            return await send_error(self._send, error)
        self._pending += [sse(error_body(error)), DONE]
        await self._flush(last=True)

    async def _flush(self, *, last: bool = False) -> None:
        if not self._pending and not last:
            return
        if not self._has_head:
            self._has_head = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        content, self._pending = b"".join(self._pending), []
        await self._send({"type": "http.response.body", "body": content, "more_body": not last})
