"""Counts and times a judge replica's requests, and exports them as Ray's metrics. docs/metrics.md lists them.

A request costs a few additions in this process; about once a second the sums go to Ray. Labels are bounded: names of
presets and members, and error codes, never anything from a request itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.serve import metrics

from deployments.observability.exporter import keep_exporting
from deployments.recordings.fused_request import Account
from fusion.chat import Completion, Delta, Usage
from fusion.errors import FusionError
from fusion.presets import Task
from fusion.progress import Progress, Watcher
from fusion.results import Candidate, Fused, Verdict
from fusion.steps import panel_stage

OTHER = "other"
"""The label `preset` of a request that brings its own panel."""


SINGLE = "single"
"""The label `mode`, and `stage`, of a plain call to one member."""


_LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300)


_SHORT_BUCKETS_S = (0.005, 0.01, 0.025, *_LATENCY_BUCKETS_S)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A histogram with the upper bounds `buckets_s` in seconds where it has any, else a counter."""

    name: str
    labels: tuple[str, ...]
    description: str
    buckets_s: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        return "histogram" if self.buckets_s else "counter"


_PRESET_LABELS = ("preset", "mode")


REQUESTS = Metric(
    "fusion_requests_total",
    (*_PRESET_LABELS, "outcome", "degraded"),
    "requests by outcome: `answered`, `cancelled` by the client, or an error's code; `degraded` is the kind, or empty",
)


REQUEST_DURATION = Metric(
    "fusion_request_duration_seconds", _PRESET_LABELS, "from arrival to the complete answer", _LATENCY_BUCKETS_S
)


PANEL_DURATION = Metric(
    "fusion_panel_duration_seconds", ("preset",), "time the panel took, rebuttals included", _LATENCY_BUCKETS_S
)


JUDGE_DURATION = Metric(
    "fusion_judge_duration_seconds", ("preset",), "time judge models took, where one was asked", _LATENCY_BUCKETS_S
)


TIME_TO_FIRST_TOKEN = Metric(
    "fusion_time_to_first_token_seconds",
    ("preset",),
    "from arrival to the first piece of a streamed answer",
    _LATENCY_BUCKETS_S,
)


ADDED_LATENCY = Metric(
    "fusion_added_latency_seconds",
    ("preset",),
    "time a request took beyond the slowest member that answered",
    _SHORT_BUCKETS_S,
)


CANDIDATES = Metric(
    "fusion_candidates_total",
    ("member", "outcome"),
    "candidates by outcome: `answered`, `cancelled`, or an error's code",
)


VERDICTS = Metric("fusion_verdicts_total", ("judge",), "verdicts, one for each order of the candidates")


INVALID_VERDICTS = Metric("fusion_invalid_verdicts_total", ("judge",), "responses of judge models that hold no verdict")


ORDER_DISAGREEMENTS = Metric(
    "fusion_order_disagreements_total", ("judge",), "pairs of opposite orders with different winners"
)


TIES = Metric("fusion_ties_total", ("judge",), "ties, broken by scores or by the order of trust")


WINS = Metric("fusion_wins_total", ("member",), "verdicts won")


INJECTIONS = Metric(
    "fusion_injections_total", ("member",), "candidates with text that seems to address the judge model"
)


AGREEMENT_EXITS = Metric(
    "fusion_agreement_exits_total", ("preset",), "requests answered without a judge because the candidates agreed"
)


TOKENS = Metric(
    "fusion_tokens_total",
    ("member", "stage", "kind"),
    "tokens as backends report them: `input` and `output`; `cached` and `reasoning` are parts of these",
)


COST = Metric("fusion_cost_usd_total", ("member", "stage"), "US dollars, where price and usage are known")


REQUEST_METRICS = (
    REQUESTS,
    REQUEST_DURATION,
    PANEL_DURATION,
    JUDGE_DURATION,
    TIME_TO_FIRST_TOKEN,
    ADDED_LATENCY,
    CANDIDATES,
    VERDICTS,
    INVALID_VERDICTS,
    ORDER_DISAGREEMENTS,
    TIES,
    WINS,
    INJECTIONS,
    AGREEMENT_EXITS,
    TOKENS,
    COST,
)
"""Every metric of requests. Ray prefixes each name with `ray_`."""


Labels = tuple[str, ...]


Make = Callable[[Metric], Any]


def make_metric(metric: Metric) -> Any:
    """Create the metric in Ray. Serve adds the labels `application`, `deployment` and `replica`."""
    labels: Any = metric.labels  # of any number, whatever Ray's annotation says
    if metric.buckets_s:
        return metrics.Histogram(
            metric.name, description=metric.description, boundaries=list(metric.buckets_s), tag_keys=labels
        )
    return metrics.Counter(metric.name, description=metric.description, tag_keys=labels)


@dataclass(slots=True)
class Tally:
    """What was counted and observed since the last export."""

    counts: Counter[tuple[Metric, Labels]] = field(default_factory=Counter[tuple[Metric, Labels]])
    observations: list[tuple[Metric, Labels, float]] = field(default_factory=list[tuple[Metric, Labels, float]])

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        self.counts[metric, labels] += by  # type: ignore[assignment]

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        self.observations.append((metric, labels, value))


class RequestMetrics:
    """Counts a replica's requests as they end. A preset that is not one of `presets` is labelled `other`."""

    def __init__(self, presets: Collection[str], make: Make = make_metric) -> None:
        self._presets = frozenset(presets)
        self._make = make
        self._made: dict[str, Any] = {}
        self._tally = Tally()

    def start(self) -> None:
        """Export about once a second from now on, in the running event loop, for as long as it runs."""
        keep_exporting(self.export)

    def export(self) -> None:
        """Hand what was counted and observed since the last export to Ray."""
        tally, self._tally = self._tally, Tally()
        for (metric, labels), number in tally.counts.items():
            if number > 0:
                self._metric(metric).inc(number, self._tags(metric, labels))
        for metric, labels, value in tally.observations:
            self._metric(metric).observe(value, self._tags(metric, labels))

    def request_answered(self, task: Task, account: Account, fused: Fused, first_token_s: float | None) -> None:
        """Count a fused request that was answered. `first_token_s` is None unless it was streamed."""
        tally, preset = self._tally, self._preset(task)
        degraded = (fused.degraded or "").partition(":")[0]
        tally.count(REQUESTS, preset, fused.mode, "answered", degraded)
        timings = fused.timings
        tally.observe(REQUEST_DURATION, preset, fused.mode, value=timings.total_ms / 1e3)
        tally.observe(PANEL_DURATION, preset, value=timings.panel_ms / 1e3)
        if timings.judge_ms is not None:
            tally.observe(JUDGE_DURATION, preset, value=timings.judge_ms / 1e3)
        if first_token_s is not None:
            tally.observe(TIME_TO_FIRST_TOKEN, preset, value=first_token_s)
        slowest_ms = max((each.latency_ms for each in fused.candidates if each.status == "answered"), default=0.0)
        tally.observe(ADDED_LATENCY, preset, value=max(0.0, timings.total_ms - slowest_ms) / 1e3)
        if fused.agreement is not None and fused.agreement.agreed and fused.judge is None:
            tally.count(AGREEMENT_EXITS, preset)
        for member in fused.suspicious:
            tally.count(INJECTIONS, member)
        self._count_calls(fused.candidates, account)
        if task.preset.decides_by == "best-of":
            self._count_verdicts(account, fused.verdict)

    def request_failed(self, task: Task, account: Account, error: BaseException) -> None:
        """Count a fused request that ended without an answer: it failed, or its client went away."""
        self._count_failure(self._preset(task), task.preset.mode, error)
        self._count_calls(account.candidates, account)

    def member_answered(self, completion: Completion, member: str, cost_usd: float | None, took_s: float) -> None:
        """Count a plain call that `member` answered."""
        tally = self._tally
        tally.count(REQUESTS, "", SINGLE, "answered", "")
        tally.observe(REQUEST_DURATION, "", SINGLE, value=took_s)
        self._add_usage(member, SINGLE, completion.usage, cost_usd)

    def member_call_failed(self, error: BaseException) -> None:
        """Count a plain call that ended without an answer."""
        self._count_failure("", SINGLE, error)

    def _count_failure(self, preset: str, mode: str, error: BaseException) -> None:
        code = error.code if isinstance(error, FusionError) else "internal_error"
        outcome = "cancelled" if isinstance(error, asyncio.CancelledError) else code
        self._tally.count(REQUESTS, preset, mode, outcome, "")

    def _count_calls(self, candidates: Sequence[Candidate], account: Account) -> None:
        for candidate in candidates:
            outcome = candidate.failure.code if candidate.failure else candidate.status
            self._tally.count(CANDIDATES, candidate.member, outcome)
            speaker = _answering_member(candidate.completion, candidate.member)
            self._add_usage(speaker, panel_stage(candidate.round), candidate.usage, candidate.cost_usd)
        for call in account.judge_calls:
            self._add_usage(_answering_member(call.outcome, call.judge), call.stage, call.outcome.usage, call.cost_usd)

    def _add_usage(self, member: str, stage: str, usage: Usage | None, cost_usd: float | None) -> None:
        if usage is not None:
            for kind, tokens in _tokens_by_kind(usage):
                self._tally.count(TOKENS, member, stage, kind, by=tokens)
        if cost_usd:
            self._tally.count(COST, member, stage, by=cost_usd)

    def _count_verdicts(self, account: Account, verdict: Verdict | None) -> None:
        valid: Counter[str] = Counter()
        for each in _single_verdicts(verdict):
            orders = 1 if each.agreed is None else 2
            valid[each.judge] += orders
            self._tally.count(VERDICTS, each.judge, by=orders)
            if each.agreed is False:
                self._tally.count(ORDER_DISAGREEMENTS, each.judge)
            if each.tie_broken_by is not None:
                self._tally.count(TIES, each.judge)
        if verdict is not None:
            self._tally.count(WINS, verdict.winner)
        responses = Counter(
            _answering_member(call.outcome, call.judge)
            for call in account.judge_calls
            if call.stage == "judge" and isinstance(call.outcome, Completion)
        )
        for judge, number in (responses - valid).items():
            self._tally.count(INVALID_VERDICTS, judge, by=number)

    def _preset(self, task: Task) -> str:
        return task.preset.name if task.preset.name in self._presets else OTHER

    def _metric(self, metric: Metric) -> Any:
        if metric.name not in self._made:
            self._made[metric.name] = self._make(metric)
        return self._made[metric.name]

    @staticmethod
    def _tags(metric: Metric, labels: Labels) -> Mapping[str, str]:
        return dict(zip(metric.labels, labels, strict=True))


class TimedWatcher:
    """Passes everything on to a watcher. `first_at` is when the first piece of the answer came, on the event loop's
    clock, None before."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.watches_candidates = watcher.watches_candidates
        self.first_at: float | None = None

    def on_delta(self, delta: Delta) -> None:
        if self.first_at is None:
            self.first_at = asyncio.get_running_loop().time()
        self._watcher.on_delta(delta)

    def on_progress(self, event: Progress) -> None:
        self._watcher.on_progress(event)


def _single_verdicts(verdict: Verdict | None) -> Sequence[Verdict]:
    """The verdicts of the single judge models: a jury's, or the one verdict."""
    if verdict is None:
        return ()
    return verdict.jury.verdicts if verdict.jury else (verdict,)


def _answering_member(outcome: object, asked: str) -> str:
    """The member that answered: the one that was asked, or a fallback."""
    return (outcome.answered_by or asked) if isinstance(outcome, Completion) else asked


def _tokens_by_kind(usage: Usage) -> Iterator[tuple[str, int]]:
    yield "input", usage.input_tokens
    yield "output", usage.output_tokens
    yield "cached", usage.cached_tokens or 0
    yield "reasoning", usage.reasoning_tokens or 0
