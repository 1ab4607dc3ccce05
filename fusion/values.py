"""The values that everything else passes around: frozen, picklable, and free of any framework.

A request's messages and settings follow OpenAI's chat completions in meaning, not in shape: wire formats are the
business of `deployments/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fusion.analysis import Analysis
from fusion.assembly import Assembly
from fusion.errors import MemberError
from fusion.kinship import Kin
from fusion.untrusted import Suspicion

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
Status = Literal["answered", "failed", "cancelled"]
Mode = Literal["best-of", "merge", "debate", "auto"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message: a `data:` or `https:` URL and OpenAI's `detail`."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is the JSON text it wrote, kept byte for byte."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str | tuple[TextPart | ImagePart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The message's text parts, joined; images are left out."""
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content if isinstance(part, TextPart))
        return self.content or ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The schema that an answer must follow. An empty `schema` asks for any JSON object."""

    name: str = "answer"
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How much a model may think before it answers: by an effort, or by a number of tokens; one of the two is set."""

    effort: Effort | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; None leaves a setting to whoever comes next (the member's own, then the backend's)."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning: Reasoning | None = None

    def over(self, base: Sampling) -> Sampling:
        """These settings, with `base` filling in what they leave open."""
        if self == _UNSET:
            return base
        mine = {name: value for name in Sampling.__slots__ if (value := getattr(self, name)) is not None}
        return replace(base, **mine)


_UNSET = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """What the client wants answered, the same for every member."""

    messages: tuple[Message, ...]
    sampling: Sampling = _UNSET
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of the one function to call as `function:NAME`."""
    parallel_tool_calls: bool | None = None
    response_schema: JsonSchema | None = None

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images of all messages."""
        contents = [message.content for message in self.messages if isinstance(message.content, tuple)]
        return tuple(part for content in contents for part in content if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True)
class Call:
    """One call to one member.

    `timeout_s` is what is left of the request's deadline when the call is made. `purpose` is `judge` when the member
    is asked to judge: then its own system prompt stays out. With `prefill` it is shown what it will be asked to judge,
    and nobody reads what it writes. `trace_headers` are W3C's trace context, for whatever the
    call reaches over HTTP; empty when nobody traces.
    """

    member: str
    request: Request
    timeout_s: float
    purpose: Literal["answer", "judge", "prefill"] = "answer"
    trace_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the backend counted them.

    `cached_tokens` are those of the input that it read from a cache, `reasoning_tokens` those of the output that are no
    part of the answer; both are counted in the totals, and None where it did not tell. A sum adds up what was told.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            _sum_of_known(self.cached_tokens, other.cached_tokens),
            _sum_of_known(self.reasoning_tokens, other.reasoning_tokens),
        )


def _sum_of_known(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the tool call at `index`: the first one names it, later ones add to its arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """What a stream adds to an answer, and to the reasoning that comes before it."""

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. `usage` is None where the backend reported none: it is never guessed. `answered_by` is the member
    that stood in for the one that was asked, None when that one answered itself. `reasoning` is what the model showed
    of its thinking, never part of `text`."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage | None = None
    answered_by: str | None = None
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What became of one member in one round. A completion is there exactly when it answered."""

    member: str
    status: Status
    latency_ms: float
    round: int = 0
    completion: Completion | None = None
    error: MemberError | None = None
    cost_usd: float | None = None

    @property
    def usage(self) -> Usage | None:
        """What the call used, None when nobody said."""
        outcome = self.completion or self.error
        return outcome.usage if outcome else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge model's decision about the candidates, with the labels it saw resolved to members.

    `order` is the order in which it saw them, drawn from `seed`. `scores` go from 0 to 10, None where it gave none. It
    was asked in two opposite orders when `agreed` is not None: then the scores are means, and where the orders
    disagreed on the winner that is a tie, which `tie_broken_by` settled: the sums of the scores, or the order of trust.
    `criteria` are the scores of a rubric by member and criterion. `kin` are the candidates that the judge model may
    favour as its own kind. The verdict of a `jury` has the means of its scores, and `judge` names all who had a say.
    """

    judge: str
    winner: str
    scores: Mapping[str, float | None]
    reason: str
    order: tuple[str, ...]
    seed: int
    agreed: bool | None = None
    tie_broken_by: Literal["scores", "trust"] | None = None
    criteria: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, Mapping[str, float | None]])
    kin: tuple[Kin, ...] = ()
    jury: Jury | None = None


@dataclass(frozen=True, slots=True)
class Jury:
    """How several judge models came to one verdict: what each said, the Borda points that follow from all of their
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
    """What the calls of one stage used and cost: `panel`, `rebuttal`, `prefill`, `judge`, or another that a mode names.

    Counted are calls that were answered, and failed ones as far as the provider told what they used. `cost_usd` is None
    as soon as one of them has an unknown cost.
    """

    stage: str
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
    """The answer to a fused request, and how it came about.

    `judge` is the member that decided, None when no judge model did. `usage` sums what the backends reported over every
    call made. `cost_usd` is None as soon as one answered call's cost is unknown. `degraded` says why the answer is less
    than was asked for, None when it is not. `dropped` are the parts of the plan that the deadline left no time for.
    `stages` says what was used where. `agreement` is None when candidates were not compared, `saved` when nothing was
    left out, `budget` when there was none. `suspicious` are the members whose candidates look made for a judge model,
    with what is suspicious. `fit` is None when every prompt fitted as it was. `analysis` is None when none was
    wanted or no judge model was asked, `no_harm` when no merge was checked.
    """

    completion: Completion
    mode: Mode
    judge: str | None
    candidates: tuple[Candidate, ...]
    verdict: Verdict | None
    timings: Timings
    overhead_vs_slowest_member: float | None
    usage: Usage
    cost_usd: float | None
    degraded: str | None
    dropped: tuple[str, ...] = ()
    stages: tuple[Spent, ...] = ()
    agreement: Agreement | None = None
    saved: Saved | None = None
    budget: Budgeted | None = None
    assembly: Assembly | None = None
    suspicious: Mapping[str, tuple[Suspicion, ...]] = field(default_factory=dict[str, tuple[Suspicion, ...]])
    analysis: Analysis | None = None
    no_harm: NoHarm | None = None
    fit: Fit | None = None
