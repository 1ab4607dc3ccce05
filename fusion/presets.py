"""What is asked of the pool: presets, policies, and one request's task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from fusion.chat import Request, Sampling
from fusion.member import Member, MemberProfile, TokenCounter
from fusion.results import AnalysisMode, Candidate, Mode

DecisionMode = Literal["best-of", "merge"]


Skip = Literal["second_order", "rebuttals", "judge"]
"""A part of a plan that can be left out, in the order in which a short deadline takes them."""


SKIPS: tuple[Skip, ...] = get_args(Skip)


SETTINGS_OF_MODES: Mapping[str, tuple[Mode, ...]] = {"rounds": ("debate",), "decision": ("debate", "auto")}
"""What only some modes have."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a request waits for its panel, for how many answers, and what it may cost."""

    quorum: int | None = None
    """How many candidates are enough to go on; None for half of the panel, rounded up, so that no single member can
    fail a request."""
    straggler_grace: float = 1.0
    """How long stragglers are waited for, at most, as a multiple of the time that the quorum took."""
    deadline_s: float = 120.0
    """The request's time in seconds, from its arrival."""
    adaptive_grace: bool = True
    """Whether the grace ends as soon as no straggler is worth waiting for."""
    max_cost_usd: float | None = None
    """What all calls may cost together in US dollars, None for no limit."""

    def with_grace(self, grace: float | Literal["adaptive"]) -> Policy:
        """This policy with another grace: a fraction that is always waited, or as long as it pays."""
        if grace == "adaptive":
            return replace(self, straggler_grace=Policy().straggler_grace, adaptive_grace=True)
        return replace(self, straggler_grace=grace, adaptive_grace=False)

    def quorum_of(self, panel_size: int) -> int:
        """The quorum of a panel of this size: never none, never more than all."""
        return (panel_size + 1) // 2 if self.quorum is None else max(1, min(self.quorum, panel_size))


@dataclass(frozen=True, slots=True)
class AgreementPolicy:
    """When candidates that agree make a judge needless: `short` answers, JSON and code that are equal but for their
    form, and long answers whose likeness, from 0 to 1, is at least `long`; None leaves long ones to the judge."""

    short: bool = True
    long: float | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """A named panel, mode, judge and policy."""

    name: str
    """The model id that it is served as."""
    mode: Mode
    """How the candidates become one answer."""
    panel: tuple[str, ...]
    """The members that are convened, in order of trust."""
    judges: tuple[str, ...]
    """The judge models, in the order in which they are asked."""
    policy: Policy = Policy()
    """How long to wait, for how many answers, and at what cost."""
    rounds: int = 1
    """How many rebuttals a debate has at most."""
    decision: DecisionMode = "merge"
    """How a debate or an auto ends."""
    agreement: AgreementPolicy = AgreementPolicy()
    """When candidates that agree need no judge."""
    both_orders: bool = True
    """Whether a judge model that picks is asked twice at once, with the candidates in opposite orders."""
    jury: bool = False
    """Whether all judges are asked at once, and their ranks combined."""
    rubric: tuple[Criterion, ...] = ()
    """The criteria that judge models score by; empty for one score."""
    no_harm: bool = False
    """Whether a merge is compared with the best candidate, which is returned if the merge loses."""
    analysis: AnalysisMode = "off"
    """When a judge model compares the candidates."""
    awaits_analysis: bool = False
    """Whether the answer waits for an analysis beside the decision."""
    judge_timeout_s: float | None = None
    """How long a judge model's call may take in seconds, None for what the deadline leaves."""
    prefill: bool = True
    """Whether the first judge model reads the candidates that are in while stragglers are waited for."""
    verbatim: bool = True
    """Whether a merge takes blocks over as their candidates wrote them."""

    @property
    def quorum(self) -> int:
        """How many candidates are enough to go on."""
        return self.policy.quorum_of(len(self.panel))

    @property
    def decides_by(self) -> DecisionMode:
        """How the candidates become one answer in the end."""
        return self.mode if self.mode == "best-of" or self.mode == "merge" else self.decision


def time_shares(judges: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield judges that are asked one after the other, each with the part of the time then left that it may take: an
    equal share of it for each that is still to be asked."""
    for asked, judge in enumerate(judges):
        yield judge, 1 / (len(judges) - asked)


def inapplicable_settings(preset: Preset) -> Iterator[tuple[str, str]]:
    """Yield each judging setting that the preset's mode ignores, with the reason."""
    picks = preset.decides_by == "best-of"
    if preset.jury and len(preset.judges) < 2:
        yield "jury", "a jury needs at least two judges"
    for name, wanted in (("jury", preset.jury), ("rubric", bool(preset.rubric))):
        if wanted and not picks and not preset.no_harm:
            yield name, f"{name} belongs to picking: mode or decision best-of, or a merge with no_harm"
    if preset.no_harm and picks:
        yield "no_harm", "no_harm belongs to merging: mode or decision merge"


@dataclass(frozen=True, slots=True)
class Pool:
    """All members. Every mapping is by the member's name."""

    members: Mapping[str, Member]
    """The members."""
    profiles: Mapping[str, MemberProfile]
    """What each member is; it has the keys of `members`."""
    prefilling: Mapping[str, Member] = field(default_factory=dict[str, Member])
    """The members that can be prefilled, each without the fallbacks that may stand in for it."""
    tokenizers: Mapping[str, TokenCounter] = field(default_factory=dict[str, TokenCounter])
    """The members' own tokenizers."""


@dataclass(frozen=True, slots=True)
class Task:
    """One fused request. `seed` decides everything that is drawn for it: the labels' order and the fence. `skips` are
    the parts of the plan that there is no time for.

    `panel_sampling` goes before the request's own where the panel is asked, `judge_sampling` where a judge model
    judges; where one writes the answer, the request's own comes first. `left_out` are those who cannot take the
    request: they are no part of the preset's panel any more.
    """

    preset: Preset
    request: Request
    profiles: Mapping[str, MemberProfile]
    seed: int
    skips: frozenset[Skip] = frozenset()
    panel_sampling: Sampling = field(default_factory=Sampling)
    judge_sampling: Sampling = field(default_factory=Sampling)
    left_out: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to score from 0 to 10. `weight` is above 0 and counts against the other criteria's."""

    name: str
    weight: float = 1.0
    description: str | None = None


def weighted(scores: Mapping[str, float | None], rubric: Sequence[Criterion]) -> float | None:
    """The weighted mean of a candidate's scores over the criteria that have one; None when none has."""
    known = [(criterion.weight, score) for criterion in rubric if (score := scores.get(criterion.name)) is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * score for weight, score in known) / total if total > 0 else None
