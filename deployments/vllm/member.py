"""Asks one engine's members in the engine's own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast

from ray.serve.llm import LLMServer  # pyright: ignore[reportUnknownVariableType]
from ray.serve.llm.openai_api_models import ChatCompletionRequest
from vllm.exceptions import VLLMError

from deployments.egress.images import ImageUrls, has_links
from deployments.providers.openai.requests import chat_body
from deployments.providers.openai.responses import read_completion
from deployments.providers.openai.stream import OpenAIStreamReader
from deployments.vllm.internals import RawRequestInfo, create_error_response
from deployments.vllm.json_schema import lengths_as_patterns
from deployments.vllm.scheduler_stats import EngineBacklog
from fusion.chat import Call, Completion
from fusion.errors import (
    ContextExceeded,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnavailable,
)
from fusion.member import Emit

_DONE = "[DONE]"


_TOO_LONG = frozenset({"input_text", "input_tokens", "max_tokens", "max_completion_tokens"})


class EngineMember:
    """Sends calls to an engine as OpenAI's chat completions.

    The engine is given images, never their URLs: it would resolve a URL's host and follow redirects from inside of the
    cluster, where a check made before says nothing.

    Args:
        server: runs the engine.
        model_id: the model's name there.
        images: fetches images.
        image_hosts: the hosts that images may come from; every public one when there are none.
        backlog: the engine's queue, from which prefills are held back.
        traced: whether the engine makes spans of its own, below those that calls bring along; one that does not logs
            a warning about each.
    """

    def __init__(
        self,
        server: LLMServer,
        model_id: str,
        images: ImageUrls | None = None,
        image_hosts: Collection[str] = (),
        backlog: EngineBacklog | None = None,
        traced: bool = False,
    ) -> None:
        self._server = server
        self._model_id = model_id
        self._images = images or ImageUrls()
        self._image_hosts = image_hosts
        self._backlog = backlog or EngineBacklog()
        self._traced = traced

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        if call.purpose == "prefill" and self._backlog.waiting:
            raise _prefill_skipped(call)
        # vLLM turns the cancellation of a call that does not stream into a reply, so that call has a task of its own.
        asking = asyncio.create_task(self._ask(call, emit))
        tasks: list[asyncio.Task[Any]] = [asking]
        if call.purpose == "prefill":
            tasks.append(asyncio.create_task(self._backlog.wait_for_backlog()))
        try:
            await asyncio.wait(tasks, timeout=call.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            answered = asking.done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not answered and self._backlog.waiting and call.purpose == "prefill":
            raise _prefill_skipped(call)
        if not answered:
            raise MemberTimeout(f"no answer within {call.timeout_s:.1f} s", member=call.member)
        return asking.result()

    async def _ask(self, call: Call, emit: Emit | None) -> Completion:
        try:
            if has_links(call.request):
                call = replace(call, request=await self._images.inlined(call.request, self._image_hosts))
            body = chat_body(_with_patterns(call), self._model_id, stream=emit is not None)
            headers = RawRequestInfo(dict(call.trace_headers)) if self._traced and call.trace_headers else None
            replies = await self._server.chat(ChatCompletionRequest(**body), headers)
            return await (_completion(replies) if emit is None else _streamed(replies, emit))
        except MemberError:
            raise
        except Exception as error:
            # vLLM's own list of what is the request's fault and what is not.
            reply = create_error_response(error).model_dump()["error"]
            if reply["code"] == HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, VLLMError):
                raise  # its replica logs where
            raise _error_from(reply) from error


def _prefill_skipped(call: Call) -> MemberOverloaded:
    return MemberOverloaded("the engine has a backlog; prefill skipped", member=call.member)


def _with_patterns(call: Call) -> Call:
    """The call, with the schema of its answer as xgrammar needs it."""
    wanted = call.request.response_schema
    if wanted is None:
        return call
    wanted = replace(wanted, schema=lengths_as_patterns(wanted.schema))
    return replace(call, request=replace(call.request, response_schema=wanted))


async def _completion(replies: AsyncIterator[Any]) -> Completion:
    async for reply in replies:
        return read_completion(_checked(reply.model_dump(mode="json", exclude_none=True)))
    raise MalformedReply("the engine gave no reply")


async def _streamed(replies: AsyncIterator[Any], emit: Emit) -> Completion:
    """The completion of a stream: lists of server-sent events, or an object when the request is refused at once."""
    reader = OpenAIStreamReader()
    async for batch in replies:
        for event in cast("list[Any]", batch):
            data = event.removeprefix("data: ").strip() if isinstance(event, str) else event.model_dump_json()
            if data != _DONE and (delta := reader.feed(_checked(json.loads(data)))):
                emit(delta)
    return reader.completion()


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply, or a chunk of one, unless it is an error.

    Raises:
        MemberError: it is.
    """
    if "error" in reply:
        raise _error_from(reply["error"])
    if any(choice.get("finish_reason") == "abort" for choice in reply["choices"]):
        raise MemberUnavailable("the engine aborted the request")
    return reply


def _error_from(error: Mapping[str, Any]) -> MemberError:
    """Translate an engine's error into one of `fusion.errors`. Its message may repeat the prompt, so only its type is
    passed on."""
    code, kind = error["code"], error["type"]
    if code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return MemberOverloaded(f"the engine is full ({kind})")
    if code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT):
        return MemberTimeout(f"the engine ran out of time ({kind})")
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR and code != HTTPStatus.NOT_IMPLEMENTED:
        return MemberUnavailable(f"the engine failed ({kind})")
    if error.get("param") in _TOO_LONG:
        return ContextExceeded("the prompt and its answer are longer than the model's context")
    return MemberRejected(f"the engine refused the request ({kind})")
