"""Writes the bodies of chat completion requests."""

from __future__ import annotations

from typing import Any

from deployments.providers.openai.dialects import COMMON, Dialect
from deployments.providers.requests import InlineImage, image_source, refused
from fusion.chat import Call, ImagePart, JsonSchema, Message, Sampling, TextPart, Tool

_PROVIDER = "OpenAI's chat completions"


def chat_body(call: Call, model: str, *, stream: bool, dialect: Dialect = COMMON) -> dict[str, Any]:
    """Returns the request body for a call. A stream is asked to report its usage.

    Raises:
        MemberRejected: an image is neither a base64 `data:` nor an `https:` URL, or the server takes no reasoning token
            budget, or it would ignore silently what the call asks for.
    """
    request = call.request
    if not dialect.tool_choice:
        _refuse_tool_choice(call)
    messages = [_message(message, call, dialect) for message in request.messages]
    body: dict[str, Any] = {"model": model, "messages": messages, **_sampling(request.sampling, dialect)}
    body |= {**_reasoning(call, dialect), **dialect.extra_body}
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


def _refuse_tool_choice(call: Call) -> None:
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
