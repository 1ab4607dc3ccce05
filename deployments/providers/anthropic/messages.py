"""Anthropic's Messages API (https://platform.claude.com/docs/en/api/messages).

`max_tokens` is required there: where neither the client nor the member says one, it is `DEFAULT_MAX_TOKENS`.

Refused before the call: `seed`, `frequency_penalty`, `presence_penalty`, a temperature above 1, the effort `minimal`,
fewer than 1024 tokens to think with or no fewer than the answer's own, names of participants,
an image's `detail`, images that are neither base64 `data:` URLs in one of four formats nor `https:` URLs, images
outside of user messages and tool results, `json_object` without a schema, schemas of objects with unnamed properties, a
conversation of system messages alone, and tool calls in the history whose arguments are not a JSON object.

System messages go to the top, in their order: most models take none among the others. Thinking is asked for where the
call has `reasoning`: by an effort it is adaptive, which models from 4.6 on take; by a number of tokens it is of the
older kind, which models up to 4.6 take. It is kept apart from the answer. A refusal is the model's answer, marked
`content_filter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from deployments.providers.anthropic.conversation import PROVIDER, conversation
from deployments.providers.anthropic.json_schema import UnclosableObject, closed_schema
from deployments.providers.base import Complaint, refused
from deployments.providers.errors import CONTEXT_LENGTH_EXCEEDED, error_from_complaint, machine_code, says_too_long
from deployments.providers.lenient_json import count, items, mapping, new_call_id, text, written
from fusion.chat import (
    Call,
    Completion,
    Delta,
    FinishReason,
    JsonSchema,
    Reasoning,
    Request,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from fusion.errors import MalformedReply, MemberError, MemberUnauthorized

DEFAULT_MAX_TOKENS = 16_384


MIN_THINKING_TOKENS = 1024


API_VERSION = "2023-06-01"


_FINISH_REASONS: Mapping[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


# For errors in mid-stream, which come with the status 200 (https://platform.claude.com/docs/en/api/errors).
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def is_a_copy(base_url: str) -> bool:
    """Whether the server at this URL is not Anthropic's own, nor Azure's of it, but another that speaks its format."""
    host = f".{urlsplit(base_url).hostname or ''}"
    return not host.endswith((".anthropic.com", ".azure.com"))


class AnthropicWire:
    """The format of the Messages API.

    Args:
        copy: the server is somebody else's. Some of these, such as vLLM's, know a key only as a bearer token; to
            Anthropic itself such a token is another kind of login, which it would try.
    """

    def __init__(self, *, copy: bool = False) -> None:
        self._copy = copy

    def headers(self, key: str | None) -> Mapping[str, str]:
        version = {"anthropic-version": API_VERSION}
        if key is None:
            return version
        return version | {"x-api-key": key} | ({"authorization": f"Bearer {key}"} if self._copy else {})

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002
        return "messages"

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:
        request = call.request
        _refuse_the_impossible(call)
        system, turns = conversation(call)
        body: dict[str, Any] = {"model": model, "max_tokens": request.sampling.max_tokens or DEFAULT_MAX_TOKENS}
        if system:
            body["system"] = system
        body["messages"] = turns
        body |= {
            name: value
            for name, value in (("temperature", request.sampling.temperature), ("top_p", request.sampling.top_p))
            if value is not None
        }
        if request.sampling.stop:
            body["stop_sequences"] = list(request.sampling.stop)
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
            if choice := _tool_choice(request):
                body["tool_choice"] = choice
        output = {}
        if request.response_schema is not None:
            output["format"] = _output_format(request.response_schema, call)
        if request.sampling.reasoning is not None:
            body["thinking"] = _thinking(request.sampling.reasoning, body["max_tokens"], call)
            if body["thinking"]["type"] == "adaptive":
                output["effort"] = request.sampling.reasoning.effort
        if output:
            body["output_config"] = output
        return body | ({"stream": True} if stream else {})

    def completion(self, body: object) -> Completion:
        reply = mapping(body)
        if reply.get("type") == "error":
            raise error_from_complaint(self.complaint(body))
        if not isinstance(reply.get("content"), list):
            raise MalformedReply("the reply has no content blocks")
        blocks = [mapping(block) for block in items(reply.get("content"))]
        calls = tuple(_tool_call(block) for block in blocks if block.get("type") == "tool_use")
        return Completion(
            text="".join(text(block.get("text")) for block in blocks if block.get("type") == "text"),
            tool_calls=calls,
            finish_reason=_finish_reason(reply.get("stop_reason"), bool(calls)),
            usage=_usage(mapping(reply.get("usage"))),
            reasoning="".join(text(block.get("thinking")) for block in blocks if block.get("type") == "thinking"),
        )

    def reader(self) -> AnthropicStreamReader:
        return AnthropicStreamReader()

    def complaint(self, body: object) -> Complaint:
        return complaint_in(body)


def complaint_in(body: object) -> Complaint:
    """What an error body says."""
    error = mapping(mapping(body).get("error"))
    detail = machine_code(mapping(error.get("details")).get("error_code"))
    code = detail or machine_code(error.get("type"))
    kind: type[MemberError] | None = None
    message = text(error.get("message"))
    if says_too_long(message):
        code = CONTEXT_LENGTH_EXCEEDED
    # All come with statuses that stand for something else, 400 and 429.
    elif "credit balance" in message[:200].lower():
        code, kind = "billing_error", MemberUnauthorized
    elif detail is not None and (detail.endswith("spend_limit_reached") or detail == "organization_on_hold"):
        kind = MemberUnauthorized
    return Complaint(code, _STATUSES.get(text(error.get("type"))), kind)


class AnthropicStreamReader:
    """Puts a completion together from a stream's events."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[_GrowingCall] = []
        self._by_block: dict[int, _GrowingCall] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: object = None
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def usage(self) -> Usage | None:
        return _usage(self._usage)

    def feed(self, chunk: object) -> Delta | None:
        event = mapping(chunk)
        match event.get("type"):
            case "message_start":
                self._usage |= _told(mapping(event.get("message")).get("usage"))
            case "content_block_start":
                return self._started(event)
            case "content_block_delta":
                return self._grown(event)
            case "content_block_stop":
                return self._stopped(event)
            case "message_delta":
                self._stop_reason = mapping(event.get("delta")).get("stop_reason") or self._stop_reason
                self._usage |= _told(event.get("usage"))
            case "message_stop":
                self._ended = True
            case "error":
                raise error_from_complaint(complaint_in(event))
            case str():
                pass  # pings, and events that are yet to be invented
            case _:
                raise MalformedReply("an event has no type")
        return None

    def completion(self) -> Completion:
        if self._stop_reason is None:
            raise MalformedReply("the stream ended before its stop reason")
        calls = tuple(call.whole() for call in self._calls)
        return Completion(
            text="".join(self._text),
            tool_calls=calls,
            finish_reason=_finish_reason(self._stop_reason, bool(calls)),
            usage=self.usage,
            reasoning="".join(self._reasoning),
        )

    def _started(self, event: Mapping[str, Any]) -> Delta | None:
        block = mapping(event.get("content_block"))
        if block.get("type") == "tool_use":
            whole = _tool_call(block)
            call = _GrowingCall(len(self._calls), whole.id, whole.name, whole.arguments)
            self._calls.append(call)
            self._by_block[_index(event)] = call
            return Delta(tool_calls=(ToolCallDelta(call.index, call.id, call.name),))
        return self._said(text(block.get("text")), text(block.get("thinking")))

    def _grown(self, event: Mapping[str, Any]) -> Delta | None:
        delta = mapping(event.get("delta"))
        if delta.get("type") != "input_json_delta":
            return self._said(text(delta.get("text")), text(delta.get("thinking")))
        call = self._by_block.get(_index(event))
        piece = text(delta.get("partial_json"))
        if call is None or not piece:
            return None
        call.pieces.append(piece)
        return Delta(tool_calls=(ToolCallDelta(call.index, arguments=piece),))

    def _stopped(self, event: Mapping[str, Any]) -> Delta | None:
        call = self._by_block.pop(_index(event), None)
        if call is None or call.pieces:
            return None
        # A call without arguments streams none, and some servers send them whole at the block's start.
        call.pieces.append(call.at_start)
        return Delta(tool_calls=(ToolCallDelta(call.index, arguments=call.pieces[0]),))

    def _said(self, said: str, reasoning: str) -> Delta | None:
        if not said and not reasoning:
            return None
        self._text.append(said)
        self._reasoning.append(reasoning)
        return Delta(said, reasoning=reasoning)


@dataclass(slots=True)
class _GrowingCall:
    index: int
    id: str
    name: str
    at_start: str
    pieces: list[str] = field(default_factory=list[str])

    def whole(self) -> ToolCall:
        return ToolCall(self.id, self.name, "".join(self.pieces) or self.at_start)


def _refuse_the_impossible(call: Call) -> None:
    sampling = call.request.sampling
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(sampling, name) is not None:
            raise refused(name, PROVIDER, call)
    if sampling.temperature is not None and sampling.temperature > 1:
        raise refused("temperature", PROVIDER, call, "it goes from 0 to 1")


def _thinking(wanted: Reasoning, max_tokens: int, call: Call) -> dict[str, Any]:
    if wanted.effort == "none":
        return {"type": "disabled"}
    if wanted.effort == "minimal":
        raise refused("reasoning.effort", PROVIDER, call, "minimal is not known, low is")
    if wanted.max_tokens is None:
        return {"type": "adaptive"}
    if not MIN_THINKING_TOKENS <= wanted.max_tokens < max_tokens:
        bounds = f"it must be {MIN_THINKING_TOKENS} at least and below the answer's {max_tokens} tokens"
        raise refused("reasoning.max_tokens", PROVIDER, call, bounds)
    return {"type": "enabled", "budget_tokens": wanted.max_tokens}


def _tool(tool: Tool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["input_schema"] = {"type": "object", **(tool.parameters or {})}
    return body | ({} if tool.strict is None else {"strict": tool.strict})


def _tool_choice(request: Request) -> dict[str, Any] | None:
    _, function, name = (request.tool_choice or "").partition("function:")
    if function:
        choice: dict[str, Any] = {"type": "tool", "name": name}
    elif request.tool_choice is None and request.parallel_tool_calls is not False:
        return None
    else:
        choice = {"type": {"required": "any", "none": "none"}.get(request.tool_choice or "", "auto")}
    if request.parallel_tool_calls is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _output_format(wanted: JsonSchema, call: Call) -> dict[str, Any]:
    if not wanted.schema:
        raise refused("response_format", PROVIDER, call, "json_object is not known, json_schema is")
    try:
        return {"type": "json_schema", "schema": closed_schema(wanted.schema)}
    except UnclosableObject:
        raise refused("response_format", PROVIDER, call, "every property of an object must be named") from None


def _tool_call(block: Mapping[str, Any]) -> ToolCall:
    name = text(block.get("name"))
    if not name:
        raise MalformedReply("a tool call has no name")
    return ToolCall(text(block.get("id")) or new_call_id(), name, written(mapping(block.get("input"))))


def _index(event: Mapping[str, Any]) -> int:
    index = count(event.get("index"))
    if index is None:
        raise MalformedReply("a content block has no index")
    return index


def _finish_reason(reason: object, calls_tools: bool) -> FinishReason:
    known = _FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
    return "tool_calls" if calls_tools and known == "stop" else known


def _told(usage: object) -> Mapping[str, Any]:
    """The fields that say something; later events repeat some of the earlier ones as null."""
    return {name: value for name, value in mapping(usage).items() if value is not None}


def _usage(counted: Mapping[str, Any]) -> Usage | None:
    """All tokens read, from the cache or not: `input_tokens` alone are those that no cache knew of."""
    fresh, tokens_out = count(counted.get("input_tokens")), count(counted.get("output_tokens"))
    if fresh is None or tokens_out is None:
        return None
    read, stored = count(counted.get("cache_read_input_tokens")), count(counted.get("cache_creation_input_tokens"))
    thought = count(mapping(counted.get("output_tokens_details")).get("thinking_tokens"))
    return Usage(fresh + (read or 0) + (stored or 0), tokens_out, read, thought)
