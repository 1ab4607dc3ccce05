"""OpenAI's chat completions as a client speaks it, and as the many who copy it do: OpenRouter, Mistral, Together, vLLM,
Ollama.

Refused before the call: images that are neither base64 `data:` nor `https:` URLs; a number of tokens to think with
anywhere but at OpenRouter; and at Ollama, which would leave them out without a word, a `tool_choice` that demands a
call and `parallel_tool_calls` set to false. Everything else has a place in the body, and a server that does not take it
says so itself.

A refusal is the model's answer, marked `content_filter`. What comes in was written by someone else's server, so
nothing about its shape is taken for granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from deployments.providers.base import Complaint, InlineImage, image_source, refused
from deployments.providers.errors import CONTEXT_LENGTH_EXCEEDED, error_from_complaint, machine_code, says_too_long
from deployments.providers.lenient_json import count, items, mapping, new_call_id, text, written
from deployments.providers.openai.dialects import COMMON, Dialect
from fusion.chat import (
    Call,
    Completion,
    Delta,
    FinishReason,
    ImagePart,
    JsonSchema,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from fusion.errors import MalformedReply, MemberError, MemberRejected, MemberUnauthorized

_PROVIDER = "OpenAI's chat completions"


_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


# Where the code says more than the status that it comes with.
_KINDS: Mapping[str, type[MemberError]] = {
    "insufficient_quota": MemberUnauthorized,
    "billing_hard_limit_reached": MemberUnauthorized,
    "account_deactivated": MemberUnauthorized,
    "invalid_api_key": MemberUnauthorized,
    CONTEXT_LENGTH_EXCEEDED: MemberRejected,
    "content_filter": MemberRejected,
    "content_policy_violation": MemberRejected,
}


# OpenRouter's 404 for parameters that no provider of a model takes.
_UNSUPPORTED = ("No endpoints found that can handle the requested parameters", "No endpoints found that support")


# For errors that come with the status 200.
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "authentication_error": 401,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
}


class OpenAIWire:
    """The format of one server."""

    def __init__(self, dialect: Dialect = COMMON) -> None:
        self._dialect = dialect

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002
        return "chat/completions"

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:
        return chat_body(call, model, stream=stream, dialect=self._dialect)

    def completion(self, body: object) -> Completion:
        return completion_from(body)

    def reader(self) -> StreamReader:
        return StreamReader()

    def complaint(self, body: object) -> Complaint:
        return complaint_in(body)


def chat_body(call: Call, model: str, *, stream: bool, dialect: Dialect = COMMON) -> dict[str, Any]:
    """The request body for a call. A stream is asked to report its usage.

    Raises:
        MemberRejected: an image is neither a base64 `data:` nor an `https:` URL, the server takes no number of tokens
            to think with, or it would leave out what is asked for without a word.
    """
    request = call.request
    if not dialect.tool_choice:
        _refuse_choices(call)
    messages = [_message(message, call, dialect) for message in request.messages]
    body: dict[str, Any] = {"model": model, "messages": messages, **_sampling(request.sampling, dialect)}
    body |= {**_reasoning(call, dialect), **dialect.more}
    if request.tools and (dialect.tool_choice or request.tool_choice != "none"):
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice is not None and dialect.tool_choice:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.parallel_tool_calls is not None and dialect.tool_choice:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema)
    if stream:
        body["stream"] = True
        if dialect.stream_options:
            body["stream_options"] = {"include_usage": True}
    return body


def completion_from(body: object) -> Completion:
    """The completion in a response body.

    Raises:
        MalformedReply: the body has no first choice with a message.
        MemberError: the body is an error.
    """
    reply = mapping(body)
    choice = _first_choice(reply)
    _raise_error_in(reply, choice)
    message = mapping(choice.get("message"))
    if not message:
        raise MalformedReply("the reply has no choices[0].message")
    said, reasoning, refuses = _words(message)
    tool_calls = tuple(_tool_call(entry) for entry in items(message.get("tool_calls")))
    return Completion(
        text=said,
        tool_calls=tool_calls,
        finish_reason=_finish_reason(choice.get("finish_reason"), bool(tool_calls), refuses),
        usage=_usage(reply.get("usage")),
        reasoning=reasoning,
    )


class StreamReader:
    """Puts a completion together from a stream's chunks."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[_GrowingCall] = []
        self._slots: dict[int, int] = {}
        self._refuses = False
        self._finish_reason: object = None
        self._usage: Usage | None = None

    @property
    def ended(self) -> bool:
        """Never: the end is marked by `[DONE]`, which is no document."""
        return False

    @property
    def usage(self) -> Usage | None:
        return self._usage

    def feed(self, chunk: object) -> Delta | None:
        """What this chunk adds to the answer, None when it adds nothing.

        Raises:
            MalformedReply: the chunk is not an object.
            MemberError: the chunk is an error.
        """
        reply = mapping(chunk)
        if not reply:
            raise MalformedReply("a chunk is not a JSON object")
        choice = _first_choice(reply)
        _raise_error_in(reply, choice)
        self._usage = _usage(reply.get("usage")) or self._usage
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        grown = mapping(choice.get("delta"))
        said, reasoning, refuses = _words(grown)
        calls = tuple(self._grow(entry, i) for i, entry in enumerate(items(grown.get("tool_calls"))))
        if not said and not reasoning and not calls:
            return None
        self._refuses = self._refuses or refuses
        self._text.append(said)
        self._reasoning.append(reasoning)
        return Delta(said, calls, reasoning)

    def completion(self) -> Completion:
        """The whole answer.

        Raises:
            MalformedReply: the stream ended before its finish reason.
        """
        if self._finish_reason is None:
            raise MalformedReply("the stream ended before its finish reason")
        tool_calls = tuple(call.whole() for call in self._calls)
        finish_reason = _finish_reason(self._finish_reason, bool(tool_calls), self._refuses)
        said, reasoning = "".join(self._text), "".join(self._reasoning)
        return Completion(said, tool_calls, finish_reason, self._usage, reasoning=reasoning)

    def _grow(self, entry: object, position: int) -> ToolCallDelta:
        call = mapping(entry)
        function = mapping(call.get("function"))
        index = count(call.get("index", position))
        if index is None:
            raise MalformedReply("a tool call's index is not a number")
        call_id, name, arguments = text(call.get("id")), text(function.get("name")), _arguments(function)
        slot = self._slots.get(index)
        # Some servers, such as Ollama, give every call of an answer the index 0.
        if slot is None or (call_id and call_id != self._calls[slot].id):
            slot = self._slots[index] = len(self._calls)
            self._calls.append(_GrowingCall(call_id or new_call_id(), name, [arguments]))
            return ToolCallDelta(slot, self._calls[slot].id, name or None, arguments)
        known = self._calls[slot]
        known.arguments.append(arguments)
        if not known.name and name:
            known.name = name
            return ToolCallDelta(slot, None, name, arguments)
        return ToolCallDelta(slot, arguments=arguments)


@dataclass(slots=True)
class _GrowingCall:
    id: str
    name: str
    arguments: list[str]

    def whole(self) -> ToolCall:
        if not self.name:
            raise MalformedReply("a tool call has no function name")
        return ToolCall(self.id, self.name, "".join(self.arguments))


def complaint_in(body: object) -> Complaint:
    """What an error body says, in OpenAI's shape or in those of its copies: the error's fields at the top (Mistral,
    older vLLM), the status as the code (vLLM, OpenRouter), the error as bare text (Ollama)."""
    error = mapping(mapping(body).get("error")) or mapping(body)
    number = error.get("code") if isinstance(error.get("code"), int) else None
    code = machine_code(error.get("code"), error.get("type"))
    if says_too_long(error.get("message")):
        code = CONTEXT_LENGTH_EXCEEDED
    elif text(error.get("message")).startswith(_UNSUPPORTED):
        code = "unsupported_parameters"
    elif "flagged_input" in mapping(error.get("metadata")):  # OpenRouter's moderation, a 403
        code = "content_policy_violation"
    elif code is not None and code.startswith("unsupported_") and (parameter := machine_code(error.get("param"))):
        return Complaint(f"{code}: {parameter}", 400)
    status = count(number) or _STATUSES.get(code or "") or _STATUSES.get(text(error.get("type")))
    return Complaint(code, status, _KINDS.get(code or ""))


def _raise_error_in(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
    if reply.get("error"):
        raise error_from_complaint(complaint_in(reply))
    if choice.get("error") or choice.get("finish_reason") == "error":
        raise error_from_complaint(complaint_in(choice))


def _refuse_choices(call: Call) -> None:
    if call.request.tools and call.request.tool_choice not in (None, "auto", "none"):
        raise refused("tool_choice", "Ollama", call, "it leaves the choice to the model")
    if call.request.tools and call.request.parallel_tool_calls is False:
        raise refused("parallel_tool_calls", "Ollama", call, "it cannot be turned off")


def _message(message: Message, call: Call, dialect: Dialect) -> dict[str, Any]:
    role = "system" if message.role == "developer" and not dialect.developer_role else message.role
    body: dict[str, Any] = {"role": role, "content": _content(message.content, call)}
    if message.name is not None:
        body["name"] = message.name
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": made.id, "type": "function", "function": {"name": made.name, "arguments": made.arguments}}
            for made in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _content(content: str | tuple[TextPart | ImagePart, ...] | None, call: Call) -> str | list[dict[str, Any]] | None:
    if not isinstance(content, tuple):
        return content
    return [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _image(part, call) for part in content
    ]


def _image(part: ImagePart, call: Call) -> dict[str, Any]:
    source = image_source(part, _PROVIDER, call)
    url = f"data:{source.media_type};base64,{source.data}" if isinstance(source, InlineImage) else source
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": part.detail} if part.detail else {})}


def _sampling(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    settings = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        dialect.max_tokens: sampling.max_tokens,
        "stop": list(sampling.stop) if sampling.stop else None,
        dialect.seed: sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _reasoning(call: Call, dialect: Dialect) -> dict[str, Any]:
    wanted = call.request.sampling.reasoning
    if wanted is None:
        return {}
    if dialect.reasoning_object:
        return {"reasoning": {"effort": wanted.effort} if wanted.effort else {"max_tokens": wanted.max_tokens}}
    if wanted.effort is None:
        raise refused("reasoning.max_tokens", _PROVIDER, call, "give an effort")
    return {"reasoning_effort": wanted.effort}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = dict(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> str | dict[str, Any]:
    _, function, name = choice.partition("function:")
    return {"type": "function", "function": {"name": name}} if function else choice


def _response_format(wanted: JsonSchema) -> dict[str, Any]:
    if not wanted.schema:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": dict(wanted.schema)}
    return {"type": "json_schema", "json_schema": schema | ({} if wanted.strict is None else {"strict": wanted.strict})}


def _first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = items(reply.get("choices"))
    return mapping(choices[0]) if choices else {}


def _words(message: Mapping[str, Any]) -> tuple[str, str, bool]:
    """What a message or a delta says, what it shows of the thinking before, and whether it is a refusal."""
    said, refusal = text(message.get("content")), text(message.get("refusal"))
    # DeepSeek and older vLLM say `reasoning_content`, OpenRouter and newer vLLM `reasoning`, some send both.
    reasoning = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    for part in map(mapping, items(message.get("content"))):  # Mistral's reasoning models
        said += text(part.get("text"))
        reasoning += "".join(text(mapping(piece).get("text")) for piece in items(part.get("thinking")))
    return said + refusal, reasoning, bool(refusal)


def _tool_call(entry: object) -> ToolCall:
    call = mapping(entry)
    function = mapping(call.get("function"))
    name = text(function.get("name"))
    if not name:
        raise MalformedReply("a tool call has no function name")
    return ToolCall(text(call.get("id")) or new_call_id(), name, _arguments(function))


def _arguments(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments")
    return written(cast("object", arguments)) if isinstance(arguments, dict) else text(arguments)


def _finish_reason(reason: object, calls_tools: bool, refuses: bool) -> FinishReason:
    known = _FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
    if refuses:
        return "content_filter"
    return "tool_calls" if calls_tools and known == "stop" else known


def _usage(value: object) -> Usage | None:
    counted = mapping(value)
    tokens_in, tokens_out = count(counted.get("prompt_tokens")), count(counted.get("completion_tokens", 0))
    if tokens_in is None or tokens_out is None:
        return None
    cached = mapping(counted.get("prompt_tokens_details")).get("cached_tokens", counted.get("prompt_cache_hit_tokens"))
    reasoning = mapping(counted.get("completion_tokens_details")).get("reasoning_tokens")
    return Usage(tokens_in, tokens_out, count(cached), count(reasoning))
