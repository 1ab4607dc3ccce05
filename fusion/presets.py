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
    """How long to wait and for how many.

    `quorum` None means half of the panel, rounded up, so that no single member can fail a request. `straggler_grace` is
    a fraction of the time that the quorum took; with `adaptive_grace` it is the most that is waited, as long as waiting
    pays by what is known of the stragglers. `deadline_s` counts from the request's arrival. `max_cost_usd` is what all
    calls may cost together, None for any.
    """

    quorum: int | None = None
    straggler_grace: float = 1.0
    deadline_s: float = 120.0
    adaptive_grace: bool = True
    max_cost_usd: float | None = None

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
    """A named panel, mode, judge and policy.

    `panel` is in order of trust. `judges` are asked one after the other until one gives a decision. `rounds` bounds
    the rebuttals of a debate, and `decision` says how it, or an auto, ends. `both_orders`: a judge model that picks is
    asked twice at once, with the candidates in opposite orders. `jury`: all judges are asked at once, and their ranks
    combined. `rubric` is what they score by. `no_harm`: a merge that loses to the best candidate is not returned.
    `analysis` says when the candidates are compared, and `awaits_analysis` that the answer waits for it. No judge has
    more than `judge_timeout_s`. `prefill`: the first of them, where it can, is shown the candidates that are in while
    stragglers are waited for. `verbatim`: a merge takes blocks over as their candidates wrote them.
    """

    name: str
    mode: Mode
    panel: tuple[str, ...]
    judges: tuple[str, ...]
    policy: Policy = Policy()
    rounds: int = 1
    decision: DecisionMode = "merge"
    agreement: AgreementPolicy = AgreementPolicy()
    both_orders: bool = True
    jury: bool = False
    rubric: tuple[Criterion, ...] = ()
    no_harm: bool = False
    analysis: AnalysisMode = "off"
    awaits_analysis: bool = False
    judge_timeout_s: float | None = None
    prefill: bool = True
    verbatim: bool = True

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
    """All members: what reaches each, and what makes each a voice of its own. Both have the same keys. `prefilling` are
    those that can be shown a prompt ahead, without anyone standing in for them; `tokenizers` reach the members' own."""

    members: Mapping[str, Member]
    profiles: Mapping[str, MemberProfile]
    prefilling: Mapping[str, Member] = field(default_factory=dict[str, Member])
    tokenizers: Mapping[str, TokenCounter] = field(default_factory=dict[str, TokenCounter])


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
