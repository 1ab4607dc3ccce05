"""The part of a configuration that is presets."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from cluster.config.base import Seconds, StrictModel
from deployments.api.chat_schema import MAX_CRITERIA, MAX_ROUNDS, CriterionName
from deployments.api.openrouter import MAX_PANEL
from fusion.presets import (
    SETTINGS_OF_MODES,
    AgreementPolicy,
    Criterion,
    DecisionMode,
    Policy,
    Preset,
    inapplicable_settings,
)
from fusion.results import AnalysisMode, Mode


class AgreementConfig(StrictModel):
    """When candidates that agree make a judge needless."""

    short: bool = AgreementPolicy().short
    long: Annotated[float, Field(gt=0, le=1)] | None = AgreementPolicy().long


class CriterionConfig(StrictModel):
    """Something that judge models score by."""

    name: CriterionName
    weight: Annotated[float, Field(gt=0, le=1000)] = Criterion("").weight
    description: Annotated[str, Field(min_length=1, max_length=300)] | None = None


class PresetConfig(StrictModel):
    """A named panel, mode, judge and policy. `panel` and a list of judges are in order of trust and succession."""

    mode: Mode
    panel: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PANEL, strict=False)]
    judge: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PANEL, strict=False)]
    quorum: Annotated[int, Field(ge=1)] | None = None
    straggler_grace: Annotated[float, Field(ge=0)] | Literal["adaptive"] = "adaptive"
    deadline_s: Seconds = Policy().deadline_s
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)] | None = None
    decision: DecisionMode | None = None
    both_orders: bool = True
    agreement: AgreementConfig = AgreementConfig()
    jury: bool = False
    rubric: Annotated[tuple[CriterionConfig, ...], Field(max_length=MAX_CRITERIA, strict=False)] = ()
    no_harm: bool = False
    analysis: AnalysisMode = "off"
    judge_timeout_s: Seconds | None = None
    prefill: bool = True
    verbatim: bool = True

    @field_validator("rubric", mode="before")
    @classmethod
    def _by_weight(cls, value: Any) -> Any:
        """A mapping of names to weights says the same as a list."""
        if not isinstance(value, dict):
            return value
        return [{"name": name, "weight": weight} for name, weight in cast("dict[Any, Any]", value).items()]

    @field_validator("analysis", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads a bare off as false

    def preset(self, name: str) -> Preset:
        """The preset as the core knows it."""
        return Preset(
            name=name,
            mode=self.mode,
            panel=self.panel,
            judges=self.judges,
            policy=Policy(self.quorum, deadline_s=self.deadline_s, max_cost_usd=self.max_cost_usd).with_grace(
                self.straggler_grace
            ),
            rounds=self.rounds or 1,
            decision=self.decision or "merge",
            both_orders=self.both_orders,
            agreement=AgreementPolicy(self.agreement.short, self.agreement.long),
            jury=self.jury,
            rubric=tuple(Criterion(each.name, each.weight, each.description) for each in self.rubric),
            no_harm=self.no_harm,
            analysis=self.analysis,
            judge_timeout_s=self.judge_timeout_s,
            prefill=self.prefill,
            verbatim=self.verbatim,
        )

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges in order of succession."""
        return (self.judge,) if isinstance(self.judge, str) else self.judge

    @model_validator(mode="after")
    def _consistent(self) -> PresetConfig:
        if self.quorum is not None and self.quorum > len(self.panel):
            raise ValueError(f"quorum ({self.quorum}) must not be above the panel's size ({len(self.panel)})")
        for name, modes in SETTINGS_OF_MODES.items():
            if getattr(self, name) is not None and self.mode not in modes:
                raise ValueError(f"{name} belongs to the mode {' or '.join(modes)}, this is {self.mode}")
        if len({each.name.casefold() for each in self.rubric}) < len(self.rubric):
            raise ValueError("rubric: two criteria have the same name")
        for _, why in inapplicable_settings(self.preset("")):
            raise ValueError(why)
        if self.mode == "auto" and not self.agreement.short and self.agreement.long is None:
            raise ValueError("the mode auto compares answers: agreement.short or agreement.long must be on")
        return self
