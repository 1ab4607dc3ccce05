"""The pydantic models of a chat completion request's body: OpenAI's shape with two extensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from deployments.api.openrouter import (
    Body,
    PluginEntry,
    ReasoningOptions,
    ServerTool,
    Unsupported,
    UsageOptions,
)
from fusion.chat import (
    Effort,
    Role,
)
from fusion.presets import DecisionMode
from fusion.results import AnalysisMode, Mode

MAX_DEADLINE_S = 3600.0


MAX_ROUNDS = 5


MAX_CRITERIA = 8


NonEmpty = Annotated[str, Field(min_length=1)]


class TextPartBody(Body):
    type: Literal["text"]
    text: str


class ImageUrlBody(Body):
    url: NonEmpty
    detail: Literal["auto", "low", "high"] | None = None


class ImagePartBody(Body):
    type: Literal["image_url"]
    image_url: ImageUrlBody


class FunctionBody(Body):
    name: NonEmpty
    arguments: str


class ToolCallBody(Body):
    id: NonEmpty
    type: Literal["function"] = "function"
    function: FunctionBody


class MessageBody(Body):
    role: Role
    content: str | list[Annotated[TextPartBody | ImagePartBody, Field(discriminator="type")]] | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    # Clients send answers back as they got them: with the reasoning, which is not sent to any model, and with fields
    # of OpenAI's that are always empty here.
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, JsonValue]] | None = None
    annotations: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _complete(self) -> MessageBody:
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.refusal)):
            raise ValueError(f"a message of the role {self.role} needs content")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("tool_call_id belongs to messages of the role tool, and to all of them")
        return self


class ToolFunctionBody(Body):
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class ToolBody(Body):
    type: Literal["function"]
    function: ToolFunctionBody


def _tool_kind(tool: Any) -> str:
    kind = cast("dict[str, Any]", tool).get("type") if isinstance(tool, dict) else None
    return "function" if kind in (None, "function") else "server"


_AnyTool = Annotated[
    Annotated[ToolBody, Tag("function")] | Annotated[ServerTool, Tag("server")], Discriminator(_tool_kind)
]


class NamedFunctionBody(Body):
    name: NonEmpty


class ToolChoiceBody(Body):
    type: Literal["function"]
    function: NamedFunctionBody


class SchemaBody(Body):
    name: NonEmpty
    schema_: dict[str, JsonValue] = Field(alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormatBody(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaBody | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormatBody:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, which needs it")
        return self


class StreamOptionsBody(Body):
    include_usage: bool = False
    include_obfuscation: bool | None = None


CriterionName = Annotated[str, Field(min_length=1, max_length=40, pattern=r'^[^"\\{}\r\n]+$')]


Weight = Annotated[float, Field(gt=0, le=1000, strict=False)]


class FusionOptions(Body):
    """What a request may change of its preset (docs/http-api.md)."""

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


class ChatBody(Unsupported):
    model: NonEmpty
    messages: Annotated[list[MessageBody], Field(min_length=1)]
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
    tool_choice: Literal["none", "auto", "required"] | ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatBody | None = None
    stream: bool | None = None
    stream_options: StreamOptionsBody | None = None
    fusion: FusionOptions | None = None
    plugins: list[PluginEntry] | None = None
    reasoning: ReasoningOptions | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    usage: UsageOptions | None = None
    # Accepted and ignored: clients send them by default, and they do not change the answer.
    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    session_id: str | None = None
    trace: dict[str, JsonValue] | None = None
