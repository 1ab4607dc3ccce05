"""The body of `POST /v1/chat/completions`, checked and turned into values.

OpenAI's shape with two extensions: `fusion`, and OpenRouter's form that says the same (`deployments.openrouter`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Discriminator, Field, JsonValue, Tag, ValidationError, model_validator

from deployments.openrouter import (
    UNSUPPORTED,
    Body,
    FusionSettings,
    PluginEntry,
    ReasoningOptions,
    ServerTool,
    Unsupported,
    UsageOptions,
    fusion_plugin,
    fusion_tool,
)
from fusion.chat import (
    Effort,
    ImagePart,
    JsonSchema,
    Message,
    Reasoning,
    Request,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
)
from fusion.errors import InvalidRequest
from fusion.presets import DecisionMode
from fusion.results import AnalysisMode, Mode

MAX_DEADLINE_S = 3600.0
MAX_ROUNDS = 5
MAX_CRITERIA = 8

NonEmpty = Annotated[str, Field(min_length=1)]


class _TextPart(Body):
    type: Literal["text"]
    text: str


class _ImageUrl(Body):
    url: NonEmpty
    detail: Literal["auto", "low", "high"] | None = None


class _ImagePart(Body):
    type: Literal["image_url"]
    image_url: _ImageUrl


class _Function(Body):
    name: NonEmpty
    arguments: str


class _ToolCall(Body):
    id: NonEmpty
    type: Literal["function"] = "function"
    function: _Function


class _Message(Body):
    role: Role
    content: str | list[Annotated[_TextPart | _ImagePart, Field(discriminator="type")]] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    # Clients send an answer back as it came: with what the model showed of its thinking, which is for no other model,
    # and with fields of OpenAI's that are empty here.
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, JsonValue]] | None = None
    annotations: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _complete(self) -> _Message:
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.refusal)):
            raise ValueError(f"a message of the role {self.role} needs content")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("tool_call_id belongs to messages of the role tool, and to all of them")
        return self


class _ToolFunction(Body):
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class _Tool(Body):
    type: Literal["function"]
    function: _ToolFunction


def _tool_kind(tool: Any) -> str:
    kind = cast("dict[str, Any]", tool).get("type") if isinstance(tool, dict) else None
    return "function" if kind in (None, "function") else "server"


_AnyTool = Annotated[
    Annotated[_Tool, Tag("function")] | Annotated[ServerTool, Tag("server")], Discriminator(_tool_kind)
]


class _NamedFunction(Body):
    name: NonEmpty


class _ToolChoice(Body):
    type: Literal["function"]
    function: _NamedFunction


class _Schema(Body):
    name: NonEmpty
    schema_: dict[str, JsonValue] = Field(alias="schema")
    strict: bool | None = None
    description: str | None = None


class _ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None

    @model_validator(mode="after")
    def _complete(self) -> _ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, which needs it")
        return self


class _StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool | None = None


CriterionName = Annotated[str, Field(min_length=1, max_length=40, pattern=r'^[^"\\{}\r\n]+$')]
Weight = Annotated[float, Field(gt=0, le=1000, strict=False)]


class FusionOptions(Body):
    """What a request may change of its preset."""

    mode: Mode | None = None
    panel: Annotated[list[str], Field(min_length=1, max_length=16)] | None = None
    judge: str | Annotated[list[str], Field(min_length=1, max_length=16)] | None = None
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)] | None = None
    decision: DecisionMode | None = None
    quorum: Annotated[int, Field(ge=1)] | None = None
    straggler_grace: Annotated[float, Field(ge=0, strict=False)] | Literal["adaptive"] | None = None
    deadline_s: Annotated[float, Field(gt=0, le=MAX_DEADLINE_S, strict=False)] | None = None
    max_cost_usd: Annotated[float, Field(gt=0, strict=False, allow_inf_nan=False)] | None = None
    jury: bool | None = None
    rubric: Annotated[dict[CriterionName, Weight], Field(min_length=1, max_length=MAX_CRITERIA)] | None = None
    no_harm: bool | None = None
    analysis: AnalysisMode | None = None
    include: Sequence[Literal["candidates", "events", "provenance", "analysis"]] = ()


_Number = Annotated[float, Field(strict=False)]


class _Chat(Unsupported):
    model: NonEmpty
    messages: Annotated[list[_Message], Field(min_length=1)]
    temperature: Annotated[_Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[_Number, Field(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[_Number, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[_Number, Field(ge=-2, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[_AnyTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    fusion: FusionOptions | None = None
    plugins: list[PluginEntry] | None = None
    reasoning: ReasoningOptions | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    usage: UsageOptions | None = None
    # These say nothing about the answer, and clients send them unasked.
    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    session_id: str | None = None
    trace: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request: the model id, what to ask, and how to answer.

    `fuses` is None where the model id says whether a panel is asked; OpenRouter's form can say otherwise. It stands at
    `form` in the body then, and `preset` is the one that it names. `panel_sampling` and `judge_sampling` are as in
    `Task`. `reasoning_field` is the name by which an answer shows its reasoning, None when it must not.
    """

    model: str
    request: Request
    options: FusionOptions
    stream: bool
    include_usage: bool
    fuses: bool | None = None
    form: str | None = None
    preset: str | None = None
    panel_sampling: Sampling = field(default_factory=Sampling)
    judge_sampling: Sampling = field(default_factory=Sampling)
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = "reasoning_content"


def parse_chat(body: bytes) -> ChatRequest:
    """Check a request's body.

    Raises:
        InvalidRequest: it is not JSON, or breaks the shape; `param` is the path of the first offending field.
    """
    try:
        chat = _Chat.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None
    if chat.n not in (None, 1):
        raise InvalidRequest("n must be 1: a panel's candidates are what several choices would be", param="n")
    if chat.logprobs or chat.top_logprobs:
        raise InvalidRequest("log probabilities are not available", param="logprobs")
    try:
        plugin = fusion_plugin(chat.plugins or ())
        tool = fusion_tool(chat.tools or ())
    except ValidationError as error:
        raise _invalid(error) from None
    if sum(given is not None for given in (chat.fusion, plugin, tool)) > 1:
        param = "tools" if tool else "plugins"
        raise InvalidRequest("give one of fusion, the fusion plugin and the tool openrouter:fusion", param=param)
    functions = [tool for tool in chat.tools or () if isinstance(tool, _Tool)]
    # With no other tool, a choice of tools is about fusion, which is not left to choice here.
    if chat.tool_choice is not None and not functions and not (tool or chat.model.startswith("openrouter/")):
        raise InvalidRequest("tool_choice needs tools", param="tool_choice")
    stream_options = chat.stream_options or _StreamOptions()
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


def _with_settings(chat: ChatRequest, settings: FusionSettings, form: str) -> ChatRequest:
    """The request as OpenRouter's settings have it."""
    return replace(
        chat,
        options=FusionOptions(panel=settings.analysis_models, judge=settings.model),
        fuses=settings.enabled,
        form=form,
        preset=settings.preset,
        panel_sampling=settings.panel_sampling(),
        judge_sampling=settings.judge_sampling(),
    )


def _reasoning_field(chat: _Chat) -> Literal["reasoning_content", "reasoning"] | None:
    if chat.include_reasoning is False or (chat.reasoning and chat.reasoning.exclude):
        return None
    asks_as_openrouter = chat.reasoning or chat.include_reasoning or chat.plugins
    return "reasoning" if asks_as_openrouter or chat.model.startswith("openrouter/") else "reasoning_content"


def _reasoning(chat: _Chat) -> Reasoning | None:
    if chat.reasoning is not None and chat.reasoning_effort is not None:
        raise InvalidRequest("give either reasoning or reasoning_effort", param="reasoning_effort")
    if chat.reasoning is not None:
        return chat.reasoning.wanted()
    return None if chat.reasoning_effort is None else Reasoning(chat.reasoning_effort)


def _request(chat: _Chat, functions: Sequence[_Tool]) -> Request:
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
        if isinstance(choice, _ToolChoice)
        else choice
        if functions
        else None,
        parallel_tool_calls=chat.parallel_tool_calls,
        response_schema=_schema(chat.response_format),
    )


def _message(message: _Message) -> Message:
    content = message.content
    if isinstance(content, list):
        parts = tuple(
            TextPart(part.text) if isinstance(part, _TextPart) else ImagePart(part.image_url.url, part.image_url.detail)
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


def _schema(wanted: _ResponseFormat | None) -> JsonSchema | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.json_schema is None:
        return JsonSchema()
    return JsonSchema(wanted.json_schema.name, wanted.json_schema.schema_, wanted.json_schema.strict)


def _invalid(error: ValidationError) -> InvalidRequest:
    # Of the branches of a union, the one that got furthest is the one that was meant.
    first = max(error.errors(include_url=False, include_input=False), key=lambda found: _param(found["loc"]).count("["))
    if first["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {first['ctx']['error']}" if "ctx" in first else "not JSON")
    param = _param(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["loc"] and (name := str(first["loc"][0])) in UNSUPPORTED:
        message = f"not supported: {UNSUPPORTED[name]}"
    elif first["type"] == "extra_forbidden":
        message = f"unknown field{_suggestion(str(first['loc'][-1]), _known(first['loc']))}"
    elif first["type"] == "missing":
        message = "this field is required"
    return InvalidRequest(f"{param}: {message}" if param else f"the body: {message}", param=param or None)


# pydantic puts the branch of a union it tried into the location; those are no part of the path.
_BRANCHES = frozenset({"str", "text", "image_url", "_ToolChoice", "function", "server"})


def _param(location: Sequence[int | str]) -> str:
    path = ""
    for position, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not _is_branch(location, position):
            path += f".{part}" if path else part
    return path


def _is_branch(location: Sequence[int | str], position: int) -> bool:
    part = str(location[position])
    if "[" in part or part in ("str", "_ToolChoice"):
        return True
    after_index = position > 0 and isinstance(location[position - 1], int)
    return after_index and part in _BRANCHES


def _known(location: Sequence[int | str]) -> Iterable[str]:
    model: type[BaseModel] = FusionOptions if location[0] == "fusion" else _Chat
    return model.model_fields if len(location) <= 2 else ()


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
