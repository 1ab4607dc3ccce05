"""What a fused request comes to: candidates, verdicts, and the answer with how it came about. All plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fusion.chat import Completion, Usage

BlockKind = Literal["code", "table", "quote", "maths", "inline_code", "citation"]


Suspicion = Literal["invisible_characters", "template_tokens", "forged_sections", "forged_verdict"]
"""What in a candidate's text looks made for a judge model."""


Bond = Literal["member", "model", "family", "backend"]


@dataclass(frozen=True, slots=True)
class Kin:
    """A candidate's member that a judge model is bound to: they are one member, one model, of one family, or at one
    backend. The closest of these."""

    member: str
    judge: str
    bond: Bond


AnalysisMode = Literal["off", "beside", "before"]
"""`beside`: asked for at the same time as the decision, which does not wait for it. `before`: asked for first, and
shown to the judge model that writes the answer."""


@dataclass(frozen=True, slots=True)
class Point:
    """A statement, and the members that make it."""

    text: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What candidates differ about, and what each side says."""

    topic: str
    stances: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What all say, where they contradict each other, what only some cover, what only one found, and what none did.

    `judge` is the judge model that wrote it, None when none was asked. `error` is why there is nothing in it, None when
    that is what was found.
    """

    judge: str | None
    consensus: tuple[Point, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    partial_coverage: tuple[Point, ...] = ()
    unique_insights: tuple[Point, ...] = ()
    blind_spots: tuple[str, ...] = ()
    error: str | None = None


How = Literal["agreed", "vote", "median", "judge", "central", "elements"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A member whose candidate had no part in the answer, and why: `invalid_json`, `breaks_schema`, `forbidden_call` or
    `missing_call`."""

    member: str
    reason: str


@dataclass(frozen=True, slots=True)
class VotedCall:
    """A tool call that was chosen. `support` counts, argument by argument, the voters that gave the same value."""

    function: str
    support: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ToolVote:
    """Whether tools are called, who voted for what is called, and who wanted something else."""

    decided: Literal["calls", "text"]
    voters: tuple[str, ...]
    outvoted: tuple[str, ...]
    calls: tuple[VotedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class FusedField:
    """One field of a JSON answer on which candidates differed: its JSON pointer (RFC 6901) and how it was settled."""

    path: str
    how: How


@dataclass(frozen=True, slots=True)
class TakenBlock:
    """A block of the answer that is byte for byte the one in the candidates of these members, because the judge model
    `referred` to it."""

    kind: BlockKind
    how: Literal["referred"]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """All of the above, for one answer; what did not take place is empty. `fell_back_to` is the member whose JSON
    answer stands, because the fields that won do not follow the schema together."""

    left_out: tuple[LeftOut, ...] = ()
    tool_vote: ToolVote | None = None
    fields: tuple[FusedField, ...] = ()
    fell_back_to: str | None = None
    blocks: tuple[TakenBlock, ...] = ()


Stage = Literal["panel", "rebuttal", "prefill", "judge", "write", "analysis", "no_harm"]
"""What a call is for: a member's answer or rebuttal, prompts that a judge model reads early, a verdict, a merge, an
analysis, or the check that a merge is no worse than the best candidate."""


Status = Literal["answered", "failed", "cancelled"]


Mode = Literal["best-of", "merge", "debate", "auto"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of `fusion.errors` as a value: why a call, or a whole request, ended without a completion."""

    code: str
    """The error's stable, machine-readable name, such as `timeout`."""
    message: str
    """What went wrong, for people. Holds no key, no prompt and nothing that a member wrote."""
    retryable: bool = False
    """Whether the same call may succeed later."""
    retry_after_s: float | None = None
    """When the next call may be made, in seconds from now; None when that is not known."""
    usage: Usage | None = None
    """The tokens that the failed call used, None when its backend reported none."""
    rejected: bool = False
    """Whether the member does not accept this request, now or later: an error of the kind `MemberRejected`."""
    http_status: int | None = None
    """The status of the remote API's response, None without one."""
    provider_code: str | None = None
    """The remote API's own short code for what went wrong, such as `model_not_found`; None without one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One member's outcome in one round."""

    member: str
    """The member that was asked."""
    status: Status
    """`answered`, `failed`, or `cancelled` because the round ended first."""
    latency_ms: float
    """Time from when the member was asked to its outcome, in milliseconds."""
    round: int = 0
    """0 for the panel's round, and from 1 on a debate's rebuttals."""
    completion: Completion | None = None
    """The answer; set exactly when the status is `answered`."""
    failure: Failure | None = None
    """Why there is no answer; set exactly when the status is `failed`."""
    cost_usd: float | None = None
    """What the call cost in US dollars, None when its usage or its price is unknown."""

    @property
    def usage(self) -> Usage | None:
        """The tokens that the call used, None when its backend reported none."""
        outcome = self.completion or self.failure
        return outcome.usage if outcome else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge model's decision about the candidates, with the labels it saw resolved to members."""

    judge: str
    """The judge model; of a jury, the names of all that gave a verdict."""
    winner: str
    """The member whose candidate is best."""
    scores: Mapping[str, float | None]
    """From 0 to 10, None where it gave none; the means over two orders, or over a jury."""
    reason: str
    """The judge model's reason, in a sentence."""
    order: tuple[str, ...]
    """The members in the order in which it saw their candidates."""
    seed: int
    """What that order was drawn from."""
    agreed: bool | None = None
    """Whether two opposite orders had one winner, None where it was asked in one order."""
    tie_broken_by: Literal["scores", "trust"] | None = None
    """What broke a tie: the sums of the scores, or the order of trust."""
    criteria: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, Mapping[str, float | None]])
    """The scores of a rubric, by member and criterion."""
    kin: tuple[Kin, ...] = ()
    """The candidates that the judge model may favour as its own kind."""
    jury: Jury | None = None
    """How a jury came to the verdict, None where there was no jury."""


@dataclass(frozen=True, slots=True)
class Jury:
    """How several judge models came to one verdict: the verdict of each, the Borda points that follow from all of their
    orders, and who gave no verdict, with its error's code."""

    verdicts: tuple[Verdict, ...]
    points: Mapping[str, float]
    abstained: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NoHarm:
    """A merge compared with the `best` candidate's. `returned` is that member when the merge lost and its candidate is
    the answer, else None. `verdict` is None when no judge model gave one: then the merge stands unchecked, and
    `failures` has their errors' codes."""

    best: str
    returned: str | None
    verdict: Verdict | None
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the comparison of a round's candidates came to.

    `members` are those of the largest group that say the same, none when every one differs. `kind` is how they were
    compared: `number`, `option`, `text`, `json`, `code`, `tool_calls` (all exact), or `similarity`; `none` where there
    is no group. `score` is the least likeness of any two of them, 1 for an exact comparison. `agreed`: they are enough
    to do without a judge.
    """

    kind: str
    score: float
    members: tuple[str, ...]
    agreed: bool


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls of one stage used and cost.

    Counted are calls that were answered, and failed ones if the provider reported what they used. `cost_usd` is None as
    soon as one of them has an unknown cost.
    """

    stage: Stage
    calls: int
    usage: Usage
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Saved:
    """What was not waited for or not asked because it was not needed.

    `judge_calls` counts judge models that were not asked, `unasked` are members that were not, `cut_short` those whose
    calls were cancelled with a quorum in. `time_ms` and `cost_usd` are what the calls that were not made take and cost
    on average, and the part of the grace that was not waited for; None where that is not known. What the calls that
    were cut short would have cost is in neither.
    """

    judge_calls: int
    unasked: tuple[str, ...]
    cut_short: tuple[str, ...]
    time_ms: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Budgeted:
    """What a request may cost in US dollars, what its plan costs at most, and the members that it left out for that."""

    max_cost_usd: float
    planned_cost_usd: float
    pruned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shortened:
    """A member's candidate that was not shown whole to its `reader`, a judge model or in a rebuttal another member:
    `shown_tokens` of `tokens` were, at this stage. `estimated`: the reader has no tokenizer that counted them."""

    member: str
    reader: str
    stage: str
    shown_tokens: int
    tokens: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """What was done so that prompts fit the models that read them: candidates were `shortened`, and `without_images`
    are judge models that take no images and were shown a note in the place of each."""

    shortened: tuple[Shortened, ...] = ()
    without_images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in milliseconds; `judge_ms` is None when no judge model was asked."""

    total_ms: float
    panel_ms: float
    judge_ms: float | None


@dataclass(frozen=True, slots=True)
class Fused:
    """The answer to a fused request, and how it came about."""

    completion: Completion
    """The answer."""
    mode: Mode
    """How the candidates became one answer."""
    judge: str | None
    """The member that decided, None when no judge model did."""
    candidates: tuple[Candidate, ...]
    """Every member's outcome in every round."""
    verdict: Verdict | None
    """The scores that decided, None when nothing was scored."""
    timings: Timings
    """Where the time went."""
    overhead_vs_slowest_member: float | None
    """The time added to the slowest candidate's, as a fraction of it."""
    usage: Usage
    """The sum of what the backends reported, over every call made."""
    cost_usd: float | None
    """What all calls cost, None as soon as one call's cost is unknown."""
    degraded: str | None
    """Why the answer is less than was asked for, None when it is not."""
    dropped: tuple[str, ...] = ()
    """The parts of the plan that the deadline left no time for."""
    stages: tuple[Spent, ...] = ()
    """What each stage used and cost."""
    agreement: Agreement | None = None
    """How far the candidates agree, None when they were not compared."""
    saved: Saved | None = None
    """What was not waited for or not asked, None when nothing was saved."""
    budget: Budgeted | None = None
    """How the request was kept within its budget, None without one."""
    assembly: Assembly | None = None
    """How the answer was put together, None when it was not."""
    suspicious: Mapping[str, tuple[Suspicion, ...]] = field(default_factory=dict[str, tuple[Suspicion, ...]])
    """The members whose candidates look made for the judge models that were shown them, and why."""
    analysis: Analysis | None = None
    """How the candidates compare, None when no analysis was wanted or no judge model was asked."""
    no_harm: NoHarm | None = None
    """A merge's comparison with the best candidate, None when none was made."""
    fit: Fit | None = None
    """What was done so that prompts fit, None when every prompt fitted as it was."""
