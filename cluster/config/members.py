"""Members as the configuration file has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from cluster.config.base import StrictModel
from deployments.api.openrouter import MAX_PANEL
from fusion.chat import Effort, Reasoning, Sampling

Setting = Literal[
    "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty", "reasoning"
]


class PriceConfig(StrictModel):
    """US dollars per million tokens."""

    input_per_mtok: Annotated[float, Field(ge=0)]
    """Price of prompt tokens."""
    output_per_mtok: Annotated[float, Field(ge=0)]
    """Price of generated tokens."""


class ReasoningConfig(StrictModel):
    """How much a member reasons before it answers: exactly one of the two."""

    effort: Effort | None = None
    """A level, from `none` to `max`."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """A budget of reasoning tokens."""

    @model_validator(mode="after")
    def _one_of_them(self) -> ReasoningConfig:
        if (self.effort is None) == (self.max_tokens is None):
            raise ValueError("give either effort or max_tokens")
        return self


class MemberConfig(StrictModel):
    """A named voice: a backend plus model, sampling and an optional system prompt, and its fallbacks.

    A setting of the sampling that is None is the backend's default.
    """

    backend: str
    """Name of the backend."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """Model at a remote backend, where it is required. A vLLM backend has one model of its own."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Probability mass that is sampled from."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Maximum length of an answer."""
    seed: int | None = None
    """Seed of the sampling, for backends that support one."""
    stop: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Texts that end an answer."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Penalty for tokens by how often the answer has them already."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Penalty for tokens that the answer has already."""
    reasoning: ReasoningConfig | None = None
    """How much to reason before an answer; not applied when the member judges."""
    system: str | None = None
    """System prompt, placed before the client's own; not used when the member judges."""
    omits: Annotated[frozenset[Setting], Field(strict=False)] = frozenset()
    """Sampling settings that the remote model does not support and that are left out of its calls."""
    price: PriceConfig | None = None
    """None stands for an unknown price; costs are null then."""
    family: Annotated[str, Field(min_length=1)] | None = None
    """Family of the model, such as `mistral`; None derives it from the model's name."""
    images: bool = True
    """Whether the model accepts images, as far as the configuration knows."""
    context_tokens: Annotated[int, Field(ge=1)] | None = None
    """Maximum tokens of prompt and answer together at a remote model; None if unknown."""
    fallbacks: Annotated[tuple[str, ...], Field(max_length=MAX_PANEL, strict=False)] = ()
    """Members that answer in its place when it cannot, in this order."""
    hedge: str | Literal[False] | None = None
    """Member that gets a second call when this one is slow; None stands for another replica, if there are several."""

    @field_serializer("omits")
    def _in_order(self, value: frozenset[Setting]) -> list[Setting]:
        return sorted(value)

    @field_validator("hedge", mode="before")
    @classmethod
    def _name_or_false(cls, value: object) -> object:
        if value is True:
            raise ValueError("give a member's name, or false")
        return value

    def sampling(self) -> Sampling:
        """Returns the sampling settings of the member."""
        settings = {name: getattr(self, name) for name in Sampling.__slots__}
        if self.reasoning is not None:
            settings["reasoning"] = Reasoning(self.reasoning.effort, self.reasoning.max_tokens)
        return Sampling(**settings)
