"""OpenRouter's form of asking for fusion, checked: the plugin `fusion`, the tool `openrouter:fusion`, and other fields.

A client of theirs needs another base URL and nothing else. What is not possible here is refused with the field's name
and never passed over: their panels search the web, ours do not; their models and providers are theirs.

Sources: https://openrouter.ai/docs/guides/features/plugins/fusion, .../server-tools/fusion,
https://openrouter.ai/docs/guides/routing/routers/fusion-router, https://openrouter.ai/docs/api-reference/overview
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from deployments.api.validation_errors import dotted, field_errors, invalid_field
from fusion.chat import Effort, Reasoning, Sampling
from fusion.errors import InvalidRequest

FUSION_TOOL = "openrouter:fusion"


MAX_PANEL = 16


DEFAULT_MAX_COMPLETION_TOKENS = 16_000
"""What a judging call may use when it is to think and nobody said how much, which is OpenRouter's own default."""


UNSUPPORTED: Mapping[str, str] = {
    "models": "a preset's panel and its judges say who is asked, and members' `fallbacks` who stands in",
    "route": "members' `fallbacks` say who stands in",
    "provider": "a member's backend is where it is asked",
    "transforms": "nothing is cut from a conversation",
    "web_search_options": "members do not search the web",
    "top_k": "give temperature or top_p",
    "top_a": "give temperature or top_p",
    "min_p": "give temperature or top_p",
    "repetition_penalty": "give frequency_penalty or presence_penalty",
    "logit_bias": "members do not share a tokenizer",
    "prediction": "members do not share a tokenizer",
    "modalities": "answers are text",
    "audio": "answers are text",
    "image_config": "answers are text",
    "verbosity": "say in the prompt how long the answer should be",
    "cache_control": "engines and providers cache prompts by themselves",
    "debug": "use fusion.include",
    "functions": "give tools",
    "function_call": "give tool_choice",
}
"""Fields that OpenRouter and OpenAI know and that have no meaning here, with what to do instead."""


class Body(BaseModel):
    """A part of a request's body: unknown fields are refused, and types are not bent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Unsupported(Body):
    """The fields of `UNSUPPORTED`, which may be there as long as they say nothing."""

    models: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    route: None = None
    provider: Annotated[dict[str, JsonValue], Field(max_length=0)] | None = None
    transforms: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    web_search_options: None = None
    top_k: None = None
    top_a: None = None
    min_p: None = None
    repetition_penalty: None = None
    logit_bias: Annotated[dict[str, JsonValue], Field(max_length=0)] | None = None
    prediction: None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    image_config: None = None
    verbosity: None = None
    cache_control: None = None
    debug: None = None
    functions: None = None
    function_call: None = None


class ReasoningOptions(Body):
    """How much to think. `exclude` keeps what a model shows of it out of the answer."""

    effort: Effort | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    exclude: bool = False
    enabled: bool | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ReasoningOptions:
        if self.effort is not None and self.max_tokens is not None:
            raise ValueError("give either effort or max_tokens")
        if self.enabled is False and (self.max_tokens is not None or self.effort not in (None, "none")):
            raise ValueError("enabled is false, and effort or max_tokens ask for reasoning")
        return self

    def wanted(self) -> Reasoning | None:
        """What members are told; switched on without more it is the effort `medium`."""
        if self.effort is not None or self.max_tokens is not None:
            return Reasoning(self.effort, self.max_tokens)
        return None if self.enabled is None else Reasoning("medium" if self.enabled else "none")


class UsageOptions(Body):
    """OpenRouter's older way to ask for usage in a stream."""

    include: bool = False


class PluginEntry(Body):
    """Any of OpenRouter's plugins; only `fusion` is known further."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str


class ServerTool(Body):
    """A tool that is not a function; only `openrouter:fusion` is known further."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    parameters: dict[str, JsonValue] | None = None


class FusionSettings(Body):
    """What the fusion plugin and the fusion tool say alike."""

    enabled: bool = True
    preset: str | None = None
    analysis_models: Annotated[list[str], Field(min_length=1, max_length=MAX_PANEL)] | None = None
    model: str | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning: ReasoningOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    tools: Annotated[list[JsonValue], Field(max_length=0)] | None = None

    def panel_sampling(self) -> Sampling:
        """What goes before the request's own settings where the panel is asked."""
        return Sampling(temperature=self.temperature, max_tokens=self.max_completion_tokens, reasoning=self._wanted())

    def judge_sampling(self) -> Sampling:
        """The same for a judge model, which keeps its own temperature."""
        wanted = self._wanted()
        thinks = wanted is not None and wanted.effort != "none"
        max_tokens = self.max_completion_tokens or (DEFAULT_MAX_COMPLETION_TOKENS if thinks else None)
        return Sampling(max_tokens=max_tokens, reasoning=wanted)

    def _wanted(self) -> Reasoning | None:
        return None if self.reasoning is None else self.reasoning.wanted()


_NO_WEB = "not supported: members do not search the web, so there are no calls of tools to allow or to limit"


_NOT_SETTINGS: Mapping[str, str] = {
    "max_tool_calls": _NO_WEB,
    "tools": _NO_WEB,
    "mode": "not supported: name a member as the model for a plain call to it",
    "cache_control": "not supported: engines and providers cache prompts by themselves",
}


def fusion_plugin(plugins: Sequence[PluginEntry]) -> tuple[FusionSettings, str] | None:
    """The settings of the fusion plugin and where in the body they stand, None without one.

    Raises:
        InvalidRequest: another plugin is asked for, or this one twice, or a setting is not valid here.
    """
    for index, plugin in enumerate(plugins):
        if plugin.id != "fusion":
            raise InvalidRequest(
                f"the plugin {plugin.id!r} is not supported: fusion is the only one", param=f"plugins[{index}].id"
            )
        if index:
            raise InvalidRequest("the fusion plugin is given twice", param=f"plugins[{index}]")
    return _settings(plugins[0].model_extra or {}, ("plugins", 0)) if plugins else None


def fusion_tool(tools: Sequence[object]) -> tuple[FusionSettings, str] | None:
    """The settings of the tool `openrouter:fusion` and where in the body they stand, None without it.

    Raises:
        InvalidRequest: another server tool is asked for, or this one twice, or a setting is not valid here.
    """
    found: tuple[FusionSettings, str] | None = None
    for index, tool in enumerate(tools):
        if not isinstance(tool, ServerTool):
            continue
        if tool.type != FUSION_TOOL:
            known = f"functions and {FUSION_TOOL} are"
            raise InvalidRequest(f"{tool.type!r} is not supported: {known}", param=f"tools[{index}].type")
        if found is not None:
            raise InvalidRequest(f"{FUSION_TOOL} is given twice", param=f"tools[{index}]")
        found = _settings(tool.parameters or {}, ("tools", index, "parameters"))
    return found


def _settings(given: Mapping[str, Any], where: tuple[str | int, ...]) -> tuple[FusionSettings, str]:
    path = dotted(where)
    for name, why in _NOT_SETTINGS.items():
        if given.get(name):
            raise InvalidRequest(f"{path}.{name}: {why}", param=f"{path}.{name}")
    try:
        return FusionSettings.model_validate(given), path
    except ValidationError as error:
        raise invalid_field(field_errors(error, FusionSettings)[0], where) from None
