"""Reads the body of `POST /v1/chat/completions` into values.

It has OpenAI's shape with two extensions: `fusion`, and OpenRouter's form of it (`deployments.api.openrouter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import ValidationError

from deployments.api.chat_schema import (
    ChatBody,
    FusionOptions,
    MessageBody,
    ResponseFormatBody,
    StreamOptionsBody,
    TextPartBody,
    ToolBody,
    ToolChoiceBody,
)
from deployments.api.openrouter import (
    UNSUPPORTED,
    FusionSettings,
    fusion_plugin,
    fusion_tool,
)
from deployments.api.validation_errors import field_errors, invalid_field
from fusion.chat import (
    ImagePart,
    JsonSchema,
    Message,
    Reasoning,
    Request,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
)
from fusion.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A valid request: whom to ask what, and how to answer."""

    model: str
    """A preset's id or a member's name."""
    request: Request
    options: FusionOptions
    """What the request changes of its preset."""
    stream: bool
    include_usage: bool
    """Whether a stream ends with the usage."""
    fuses: bool | None = None
    """Whether OpenRouter's form asks for a panel, or for none; None without that form: then `model` decides."""
    settings_path: str | None = None
    """Where the settings of OpenRouter's form are in the body, such as `plugins[0]`."""
    preset: str | None = None
    """The preset that OpenRouter's form names."""
    panel_sampling: Sampling = field(default_factory=Sampling)
    """Goes before the request's own sampling where the panel is asked, as in `Task`."""
    judge_sampling: Sampling = field(default_factory=Sampling)
    """Goes before a judge's own sampling, as in `Task`."""
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = "reasoning_content"
    """The field of the answer that shows its reasoning, None when it must not be shown."""


def parse_chat(body: bytes) -> ChatRequest:
    """Reads a request's body.

    Raises:
        InvalidRequest: it is not JSON, or not valid; `param` is the path of the first offending field.
    """
    try:
        chat = ChatBody.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None
    if chat.n not in (None, 1):
        raise InvalidRequest("n must be 1: a panel's candidates are what several choices would be", param="n")
    if chat.logprobs or chat.top_logprobs:
        raise InvalidRequest("log probabilities are not available", param="logprobs")
    plugin = fusion_plugin(chat.plugins or ())
    tool = fusion_tool(chat.tools or ())
    if sum(given is not None for given in (chat.fusion, plugin, tool)) > 1:
        param = "tools" if tool else "plugins"
        raise InvalidRequest("give one of fusion, the fusion plugin and the tool openrouter:fusion", param=param)
    functions = [tool for tool in chat.tools or () if isinstance(tool, ToolBody)]
    # Without functions, tool_choice is about the fusion tool, which is always applied.
    if chat.tool_choice is not None and not functions and not (tool or chat.model.startswith("openrouter/")):
        raise InvalidRequest("tool_choice needs tools", param="tool_choice")
    stream_options = chat.stream_options or StreamOptionsBody()
    parsed = ChatRequest(
        model=chat.model,
        request=_request(chat, functions),
        options=chat.fusion or FusionOptions(),
        stream=bool(chat.stream),
        include_usage=stream_options.include_usage or bool(chat.usage and chat.usage.include),
        reasoning_field=_reasoning_field(chat),
    )
    settings = plugin or tool
    return parsed if settings is None else _with_settings(parsed, *settings)


def _with_settings(chat: ChatRequest, settings: FusionSettings, path: str) -> ChatRequest:
    """The request with the settings of OpenRouter's form, which are at `path` in the body."""
    return replace(
        chat,
        options=FusionOptions(panel=settings.analysis_models, judge=settings.model),
        fuses=settings.enabled,
        settings_path=path,
        preset=settings.preset,
        panel_sampling=settings.panel_sampling(),
        judge_sampling=settings.judge_sampling(),
    )


def _reasoning_field(chat: ChatBody) -> Literal["reasoning_content", "reasoning"] | None:
    if chat.include_reasoning is False or (chat.reasoning and chat.reasoning.exclude):
        return None
    asks_as_openrouter = chat.reasoning or chat.include_reasoning or chat.plugins
    return "reasoning" if asks_as_openrouter or chat.model.startswith("openrouter/") else "reasoning_content"


def _reasoning(chat: ChatBody) -> Reasoning | None:
    if chat.reasoning is not None and chat.reasoning_effort is not None:
        raise InvalidRequest("give either reasoning or reasoning_effort", param="reasoning_effort")
    if chat.reasoning is not None:
        return chat.reasoning.wanted()
    return None if chat.reasoning_effort is None else Reasoning(chat.reasoning_effort)


def _request(chat: ChatBody, functions: Sequence[ToolBody]) -> Request:
    stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ()) or None
    choice = chat.tool_choice
    return Request(
        messages=tuple(_message(message) for message in chat.messages),
        sampling=Sampling(
            temperature=chat.temperature,
            top_p=chat.top_p,
            max_tokens=chat.max_completion_tokens or chat.max_tokens,
            stop=stop,
            seed=chat.seed,
            frequency_penalty=chat.frequency_penalty,
            presence_penalty=chat.presence_penalty,
            reasoning=_reasoning(chat),
        ),
        tools=tuple(Tool(**tool.function.model_dump()) for tool in functions),
        tool_choice=f"function:{choice.function.name}"
        if isinstance(choice, ToolChoiceBody)
        else choice
        if functions
        else None,
        parallel_tool_calls=chat.parallel_tool_calls,
        response_schema=_schema(chat.response_format),
    )


def _message(message: MessageBody) -> Message:
    content = message.content
    if isinstance(content, list):
        parts = tuple(
            TextPart(part.text)
            if isinstance(part, TextPartBody)
            else ImagePart(part.image_url.url, part.image_url.detail)
            for part in content
        )
        # Text alone is kept as text: not every backend takes parts.
        content = parts if any(isinstance(part, ImagePart) for part in parts) else Message("user", parts).text
    return Message(
        role=message.role,
        content=content if content is not None else message.refusal,
        name=message.name,
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
    )


def _schema(wanted: ResponseFormatBody | None) -> JsonSchema | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.json_schema is None:
        return JsonSchema()
    return JsonSchema(wanted.json_schema.name, wanted.json_schema.schema_, wanted.json_schema.strict)


def _invalid(error: ValidationError) -> InvalidRequest:
    detail = error.errors(include_url=False, include_input=False)[0]
    if detail["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {detail['ctx']['error']}" if "ctx" in detail else "not JSON")
    first = field_errors(error, ChatBody)[0]
    if first.path and (why := UNSUPPORTED.get(str(first.path[0]))):
        first = replace(first, message=f"not supported: {why}")
    return invalid_field(first)
