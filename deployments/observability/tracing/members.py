"""Wrappers that make spans of calls: one for each call on the judge's side, one for each attempt on the replica's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from deployments.observability.tracing import attributes
from deployments.observability.tracing.provider import Tracing, context_from, set_attributes, trace_headers
from fusion.chat import Call, Completion, Delta
from fusion.errors import MemberError
from fusion.member import Emit, Member, MemberProfile


class Traced:
    """Makes a span of each call. The call carries the span as W3C trace context headers, so that the spans of its
    attempts are below it."""

    def __init__(self, member: Member, tracing: Tracing, profiles: Mapping[str, MemberProfile]) -> None:
        self._member = member
        self._tracing = tracing
        self._profiles = profiles

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        settings = self._tracing.settings
        profile = self._profiles[call.member]
        about = attributes.of_call(call, profile, settings.providers.get(profile.backend), streams=emit is not None)
        if settings.content:
            about |= attributes.prompt(profile.apply_to(call).request)
        with self._tracing.span(f"chat {profile.model}", SpanKind.CLIENT, about) as span:
            began_at = asyncio.get_running_loop().time()
            first_at: float | None = None

            def on_delta(delta: Delta) -> None:
                nonlocal first_at
                if first_at is None:
                    first_at = asyncio.get_running_loop().time()
                assert emit is not None
                emit(delta)

            try:
                traced = replace(call, trace_headers=trace_headers())
                completion = await self._member.ask(traced, None if emit is None else on_delta)
            except MemberError as error:
                set_attributes(span, attributes.of_usage(error.usage))
                raise
            if first_at is not None:
                set_attributes(span, {"gen_ai.response.time_to_first_chunk": first_at - began_at})
            set_attributes(span, attributes.of_completion(completion, profile))
            if settings.content:
                set_attributes(span, attributes.answer(completion))
            return completion


_ATTEMPTS: ContextVar[list[int]] = ContextVar("attempts")


class CountedAttempts:
    """Wraps a member's retries, so that `TracedAttempts` inside of them can count a call's attempts."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        _ATTEMPTS.set([0])
        return await self._member.ask(call, emit)


class TracedAttempts:
    """Makes a span of each request of a remote member, below the span that the call carries. The request has W3C trace
    context headers. `url` is what calls are sent to, `streaming_url` what streamed ones are."""

    def __init__(self, member: Member, tracing: Tracing, url: str, streaming_url: str) -> None:
        self._member = member
        self._tracing = tracing
        self._urls = (url, streaming_url)
        parts = urlsplit(url)
        self._about = {
            "http.request.method": "POST",
            "server.address": parts.hostname,
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        attempts = _ATTEMPTS.get([0])
        about = {
            **self._about,
            "url.full": self._urls[emit is not None],
            "http.request.resend_count": attempts[0] or None,
            "fusion.member": call.member,
        }
        attempts[0] += 1
        parent = context_from(dict(call.trace_headers))
        with self._tracing.span("POST", SpanKind.CLIENT, about, parent) as span:
            try:
                completion = await self._member.ask(replace(call, trace_headers=trace_headers()), emit)
            except MemberError as error:
                set_attributes(span, {"http.response.status_code": error.http_status})
                raise
            set_attributes(span, {"http.response.status_code": 200})  # a remote member takes no other
            return completion
