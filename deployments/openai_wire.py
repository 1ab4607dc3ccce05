"""OpenAI's chat completions as a client speaks it: a `Call` to a request body, response bodies to values.

What comes in was written by someone else's server, so nothing about its shape is taken for granted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fusion.errors import MalformedReply
from fusion.values import (
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

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def chat_body(call: Call, model: str, *, stream: bool) -> dict[str, Any]:
    """The request body for a call. A stream is asked to report its usage."""
    request = call.request
    body: dict[str, Any] = {"model": model, "messages": [_message(message) for message in request.messages]}
    body |= _sampling(request.sampling)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def completion_from(body: object) -> Completion:
    """The completion in a response body.

    Raises:
        MalformedReply: the body has no first choice with a message.
    """
    reply = _mapping(body)
    choice = _first_choice(reply)
    message = _mapping(choice.get("message"))
    if not message:
        raise MalformedReply("the reply has no choices[0].message")
    tool_calls = tuple(_tool_call(entry) for entry in _list(message.get("tool_calls")))
    return Completion(
        text=_text(message.get("content")),
        tool_calls=tool_calls,
        finish_reason=_finish_reason(choice.get("finish_reason"), bool(tool_calls)),
        usage=_usage(reply.get("usage")),
    )


class StreamReader:
    """Puts a completion together from a stream's chunks."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._finish_reason: object = None
        self._usage: Usage | None = None

    def feed(self, chunk: object) -> Delta | None:
        """What this chunk adds to the answer, None when it adds nothing.

        Raises:
            MalformedReply: the chunk is an error or not an object.
        """
        reply = _mapping(chunk)
        if not reply or "error" in reply:
            raise MalformedReply("the stream broke off with an error" if reply else "a chunk is not a JSON object")
        self._usage = _usage(reply.get("usage")) or self._usage
        choice = _first_choice(reply)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        grown = _mapping(choice.get("delta"))
        text = _text(grown.get("content"))
        calls = tuple(_tool_call_delta(entry, i) for i, entry in enumerate(_list(grown.get("tool_calls"))))
        if not text and not calls:
            return None
        self._text.append(text)
        for call in calls:
            known = self._calls.setdefault(call.index, [call.id or "", call.name or "", ""])
            known[2] += call.arguments
        return Delta(text, calls)

    def completion(self) -> Completion:
        """The whole answer.

        Raises:
            MalformedReply: the stream ended before its finish reason.
        """
        if self._finish_reason is None:
            raise MalformedReply("the stream ended before its finish reason")
        tool_calls = tuple(ToolCall(*self._calls[index]) for index in sorted(self._calls))
        finish_reason = _finish_reason(self._finish_reason, bool(tool_calls))
        return Completion("".join(self._text), tool_calls, finish_reason, self._usage)


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": _content(message.content)}
    if message.name is not None:
        body["name"] = message.name
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _content(content: str | tuple[TextPart | ImagePart, ...] | None) -> str | list[dict[str, Any]] | None:
    if not isinstance(content, tuple):
        return content
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.url} | ({"detail": part.detail} if part.detail else {})}
        for part in content
    ]


def _sampling(sampling: Sampling) -> dict[str, Any]:
    named = {name: getattr(sampling, name) for name in Sampling.__slots__}
    body = {name: value for name, value in named.items() if value is not None}
    return body | ({"stop": list(sampling.stop)} if sampling.stop else {})


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
    choices = _list(reply.get("choices"))
    return _mapping(choices[0]) if choices else {}


def _tool_call(entry: object) -> ToolCall:
    call = _mapping(entry)
    function = _mapping(call.get("function"))
    if not isinstance(function.get("name"), str):
        raise MalformedReply("a tool call has no function name")
    return ToolCall(_text(call.get("id")), function["name"], _text(function.get("arguments")))


def _tool_call_delta(entry: object, position: int) -> ToolCallDelta:
    call = _mapping(entry)
    function = _mapping(call.get("function"))
    index = call.get("index", position)
    if not isinstance(index, int):
        raise MalformedReply("a tool call's index is not a number")
    name, call_id = function.get("name"), call.get("id")
    return ToolCallDelta(
        index,
        call_id if isinstance(call_id, str) else None,
        name if isinstance(name, str) else None,
        _text(function.get("arguments")),
    )


def _finish_reason(reason: object, calls_tools: bool) -> FinishReason:
    known = _FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
    return "tool_calls" if calls_tools and known == "stop" else known


def _usage(value: object) -> Usage | None:
    counted = _mapping(value)
    tokens = (counted.get("prompt_tokens"), counted.get("completion_tokens", 0))
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in tokens):
        return None
    return Usage(*cast("tuple[int, int]", tokens))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
