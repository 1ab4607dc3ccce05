"""Reads OpenRouter's form of a fused request: the plugin `fusion`, the tool `openrouter:fusion`, and other fields.

A client of OpenRouter needs another base URL and nothing else. What is not supported here is refused by the field's
name, never ignored: OpenRouter's panels search the web, and choose among its own models and providers.

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
"""The limit of a judging call that reasons and has none set. It is OpenRouter's own default."""


UNSUPPORTED: Mapping[str, str] = {
    "models": "a preset's panel and its judges say who is asked, and members' `fallbacks` who replaces a failed one",
    "route": "members' `fallbacks` say who replaces a failed one",
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
"""Fields of OpenRouter and OpenAI that are not supported, with what to use instead."""


class Body(BaseModel):
    """A part of a request's body: unknown fields are refused, and values are not converted to another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Unsupported(Body):
    """The fields of `UNSUPPORTED`, which may be there as long as they are empty."""

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
    """How much a model reasons. `exclude` keeps the reasoning out of the answer."""

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
        """Returns the setting for members; `enabled` alone is the effort `medium`."""
        if self.effort is not None or self.max_tokens is not None:
            return Reasoning(self.effort, self.max_tokens)
        return None if self.enabled is None else Reasoning("medium" if self.enabled else "none")


class UsageOptions(Body):
    """OpenRouter's older way to ask for a stream's usage."""

    include: bool = False


class PluginEntry(Body):
    """One of OpenRouter's plugins; `fusion_plugin` reads the settings of `fusion` and refuses the others."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str


class ServerTool(Body):
    """A tool that is not a function; `fusion_tool` reads `openrouter:fusion` and refuses the others."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    parameters: dict[str, JsonValue] | None = None


class FusionSettings(Body):
    """The settings of the fusion plugin and of the fusion tool."""

    enabled: bool = True
    preset: str | None = None
    analysis_models: Annotated[list[str], Field(min_length=1, max_length=MAX_PANEL)] | None = None
    model: str | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning: ReasoningOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    tools: Annotated[list[JsonValue], Field(max_length=0)] | None = None

    def panel_sampling(self) -> Sampling:
        """Returns what goes before the request's own sampling where the panel is asked."""
        return Sampling(temperature=self.temperature, max_tokens=self.max_completion_tokens, reasoning=self._wanted())

    def judge_sampling(self) -> Sampling:
        """Returns the same for a judge model, which keeps its own temperature."""
        wanted = self._wanted()
        thinks = wanted is not None and wanted.effort != "none"
        max_tokens = self.max_completion_tokens or (DEFAULT_MAX_COMPLETION_TOKENS if thinks else None)
        return Sampling(max_tokens=max_tokens, reasoning=wanted)

    def _wanted(self) -> Reasoning | None:
        return None if self.reasoning is None else self.reasoning.wanted()


_NO_WEB = "not supported: members do not search the web, so there are no tool calls to allow or limit"


_NOT_SETTINGS: Mapping[str, str] = {
    "max_tool_calls": _NO_WEB,
    "tools": _NO_WEB,
    "mode": "not supported: name a member as the model for a plain call to it",
    "cache_control": "not supported: engines and providers cache prompts by themselves",
}


def fusion_plugin(plugins: Sequence[PluginEntry]) -> tuple[FusionSettings, str] | None:
    """Returns the settings of the fusion plugin and their path in the body, None without the plugin.

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
    """Returns the settings of the tool `openrouter:fusion` and their path in the body, None without the tool.

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
