"""Presets as the configuration file has them."""

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
    """When candidates agree so well that no judge is asked."""

    short: bool = AgreementPolicy().short
    """Whether short answers, JSON and code that say the same count as agreement."""
    long: Annotated[float, Field(gt=0, le=1)] | None = AgreementPolicy().long
    """Minimum similarity at which long answers agree; None always asks a judge about them."""


class CriterionConfig(StrictModel):
    """One criterion of a rubric."""

    name: CriterionName
    weight: Annotated[float, Field(gt=0, le=1000)] = Criterion("").weight
    """Weight relative to the other criteria."""
    description: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """What judge models are told about it."""


class PresetConfig(StrictModel):
    """A panel with a mode, a judge and a policy, served as a model id."""

    mode: Mode
    """How candidates become an answer: `best-of`, `merge`, `debate` or `auto`."""
    panel: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PANEL, strict=False)]
    """Members, in order of trust."""
    judge: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_PANEL, strict=False)]
    """The member that judges, or several in order of succession."""
    quorum: Annotated[int, Field(ge=1)] | None = None
    """Candidates that are enough to go on; None stands for half of the panel, rounded up."""
    straggler_grace: Annotated[float, Field(ge=0)] | Literal["adaptive"] = "adaptive"
    """How long to wait for the others after the quorum: a fraction of the time that it took, or `adaptive`."""
    deadline_s: Seconds = Policy().deadline_s
    """Time from a request's arrival to its answer."""
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Maximum cost of all calls of a request."""
    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)] | None = None
    """Rebuttals of a debate; None stands for 1."""
    decision: DecisionMode | None = None
    """How a debate ends, or an auto whose candidates differ; None stands for `merge`."""
    both_orders: bool = True
    """Whether a judge model that picks is asked twice, with the candidates in opposite orders."""
    agreement: AgreementConfig = AgreementConfig()
    jury: bool = False
    """Whether all judges are asked at once and their ranks are combined."""
    rubric: Annotated[tuple[CriterionConfig, ...], Field(max_length=MAX_CRITERIA, strict=False)] = ()
    """Criteria by which judge models score."""
    no_harm: bool = False
    """Whether a merge is compared with the best candidate, which is returned if the merge loses."""
    analysis: AnalysisMode = "off"
    """Whether candidates are compared, `beside` the decision or `before` it."""
    judge_timeout_s: Seconds | None = None
    """Maximum time of a judge; None stands for its share of the time that is left."""
    prefill: bool = True
    """Whether a judge model reads the first candidates while the others are being written, where its backend can."""
    verbatim: bool = True
    """Whether a merge takes over code, tables, formulas and citations byte for byte."""

    @field_validator("rubric", mode="before")
    @classmethod
    def _by_weight(cls, value: Any) -> Any:
        """Accepts a mapping of names to weights in place of a list."""
        if not isinstance(value, dict):
            return value
        return [{"name": name, "weight": weight} for name, weight in cast("dict[Any, Any]", value).items()]

    @field_validator("analysis", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML parses a bare off as false

    def preset(self, name: str) -> Preset:
        """Returns the preset as a value of `fusion`."""
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
                raise ValueError(f"{name} is for the mode {' or '.join(modes)}, this preset is {self.mode}")
        if len({each.name.casefold() for each in self.rubric}) < len(self.rubric):
            raise ValueError("rubric: two criteria have the same name")
        for _, why in inapplicable_settings(self.preset("")):
            raise ValueError(why)
        if self.mode == "auto" and not self.agreement.short and self.agreement.long is None:
            raise ValueError("the mode auto compares answers: agreement.short or agreement.long must be on")
        return self
