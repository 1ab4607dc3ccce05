"""Counts a judge replica's requests as Ray's metrics. docs/metrics.md lists them.

A request costs some additions to numbers in this process; about once a second they go to Ray. Labels are bounded: names
of presets, members and error codes, never anything of a request's own.
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
"""The preset's label where a request brings a panel of its own."""


SINGLE = "single"
"""The mode's label where one member answers alone."""


_LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300)


_SHORT_S = (0.005, 0.01, 0.025, *_LATENCIES_S)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One of them: a histogram where it has `buckets_s`, else a counter."""

    name: str
    labels: tuple[str, ...]
    description: str
    buckets_s: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        return "histogram" if self.buckets_s else "counter"


_OF_PRESET = ("preset", "mode")


REQUESTS = Metric(
    "fusion_requests_total",
    (*_OF_PRESET, "outcome", "degraded"),
    "requests that ended: `answered`, `cancelled` by the client, or an error's code; and what kind of `degraded` it is",
)


REQUEST_S = Metric("fusion_request_s", _OF_PRESET, "seconds from arrival to the whole answer", _LATENCIES_S)


PANEL_S = Metric("fusion_panel_s", ("preset",), "seconds that the panel took, rebuttals included", _LATENCIES_S)


JUDGE_S = Metric("fusion_judge_s", ("preset",), "seconds that judge models took, where any was asked", _LATENCIES_S)


FIRST_TOKEN_S = Metric(
    "fusion_first_token_s", ("preset",), "seconds from arrival to the first piece of a streamed answer", _LATENCIES_S
)


ADDED_S = Metric("fusion_added_s", ("preset",), "seconds over the slowest member that answered", _SHORT_S)


CANDIDATES = Metric(
    "fusion_candidates_total", ("member", "outcome"), "members' calls by `answered`, `cancelled` or code"
)


VERDICTS = Metric("fusion_verdicts_total", ("judge",), "verdicts that were read, one for each order")


INVALID = Metric("fusion_invalid_verdicts_total", ("judge",), "answers of judge models that hold no verdict")


DISAGREEMENTS = Metric(
    "fusion_order_disagreements_total", ("judge",), "pairs of opposite orders with different winners"
)


TIES = Metric("fusion_ties_total", ("judge",), "ties, settled by the scores or by the order of trust")


WINS = Metric("fusion_wins_total", ("member",), "verdicts won")


INJECTIONS = Metric("fusion_injections_total", ("member",), "candidates that look made for a judge model")


AGREEMENTS = Metric("fusion_agreement_exits_total", ("preset",), "requests that a panel's agreement answered")


TOKENS = Metric(
    "fusion_tokens_total",
    ("member", "stage", "kind"),
    "tokens as backends counted them, by `input` and `output`, and of these `cached` and `reasoning`",
)


COST = Metric("fusion_cost_usd_total", ("member", "stage"), "US dollars, where a price and the usage are known")


REQUEST_METRICS = (
    REQUESTS,
    REQUEST_S,
    PANEL_S,
    JUDGE_S,
    FIRST_TOKEN_S,
    ADDED_S,
    CANDIDATES,
    VERDICTS,
    INVALID,
    DISAGREEMENTS,
    TIES,
    WINS,
    INJECTIONS,
    AGREEMENTS,
    TOKENS,
    COST,
)
"""Every one of them; Ray puts `ray_` before their names."""


Labels = tuple[str, ...]


Make = Callable[[Metric], Any]


def make_metric(metric: Metric) -> Any:
    """Ray's metric of this name. Serve adds the application, the deployment and the replica."""
    labels: Any = metric.labels  # of any number, whatever Ray's annotation says
    if metric.buckets_s:
        return metrics.Histogram(
            metric.name, description=metric.description, boundaries=list(metric.buckets_s), tag_keys=labels
        )
    return metrics.Counter(metric.name, description=metric.description, tag_keys=labels)


@dataclass(slots=True)
class Tally:
    """What was counted and observed since it was exported last."""

    counted: Counter[tuple[Metric, Labels]] = field(default_factory=Counter[tuple[Metric, Labels]])
    observed: list[tuple[Metric, Labels, float]] = field(default_factory=list[tuple[Metric, Labels, float]])

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        self.counted[metric, labels] += by  # type: ignore[assignment]

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        self.observed.append((metric, labels, value))


class RequestMetrics:
    """Counts a replica's requests as they end. `presets` are those that the configuration names."""

    def __init__(self, presets: Collection[str], make: Make = make_metric) -> None:
        self._presets = frozenset(presets)
        self._make = make
        self._made: dict[str, Any] = {}
        self._tally = Tally()

    def start(self) -> None:
        """Export about once a second from now on, in the running event loop, for as long as it runs."""
        keep_exporting(self.export)

    def export(self) -> None:
        """Hand over what was counted."""
        tally, self._tally = self._tally, Tally()
        for (metric, labels), number in tally.counted.items():
            if number > 0:
                self._metric(metric).inc(number, self._tags(metric, labels))
        for metric, labels, value in tally.observed:
            self._metric(metric).observe(value, self._tags(metric, labels))

    def answered(self, task: Task, account: Account, fused: Fused, first_token_s: float | None) -> None:
        """A panel's request has its answer."""
        tally, preset = self._tally, self._preset(task)
        degraded = (fused.degraded or "").partition(":")[0]
        tally.count(REQUESTS, preset, fused.mode, "answered", degraded)
        timings = fused.timings
        tally.observe(REQUEST_S, preset, fused.mode, value=timings.total_ms / 1e3)
        tally.observe(PANEL_S, preset, value=timings.panel_ms / 1e3)
        if timings.judge_ms is not None:
            tally.observe(JUDGE_S, preset, value=timings.judge_ms / 1e3)
        if first_token_s is not None:
            tally.observe(FIRST_TOKEN_S, preset, value=first_token_s)
        slowest_ms = max((each.latency_ms for each in fused.candidates if each.status == "answered"), default=0.0)
        tally.observe(ADDED_S, preset, value=max(0.0, timings.total_ms - slowest_ms) / 1e3)
        if fused.agreement is not None and fused.agreement.agreed and fused.judge is None:
            tally.count(AGREEMENTS, preset)
        for member in fused.suspicious:
            tally.count(INJECTIONS, member)
        self._count_calls(fused.candidates, account)
        if task.preset.decides_by == "best-of":
            self._count_verdicts(account, fused.verdict)

    def failed(self, task: Task, account: Account, error: BaseException) -> None:
        """A panel's request ended without an answer."""
        self._end(self._preset(task), task.preset.mode, error)
        self._count_calls(account.candidates, account)

    def asked(self, completion: Completion, member: str, cost_usd: float | None, took_s: float) -> None:
        """One member has answered alone."""
        tally = self._tally
        tally.count(REQUESTS, "", SINGLE, "answered", "")
        tally.observe(REQUEST_S, "", SINGLE, value=took_s)
        self._count_usage(member, SINGLE, completion.usage, cost_usd)

    def member_call_failed(self, error: BaseException) -> None:
        """One member was asked alone, and there is no answer."""
        self._end("", SINGLE, error)

    def _end(self, preset: str, mode: str, error: BaseException) -> None:
        code = error.code if isinstance(error, FusionError) else "internal_error"
        outcome = "cancelled" if isinstance(error, asyncio.CancelledError) else code
        self._tally.count(REQUESTS, preset, mode, outcome, "")

    def _count_calls(self, candidates: Sequence[Candidate], account: Account) -> None:
        for candidate in candidates:
            outcome = candidate.failure.code if candidate.failure else candidate.status
            self._tally.count(CANDIDATES, candidate.member, outcome)
            speaker = _speaker(candidate.completion, candidate.member)
            self._count_usage(speaker, panel_stage(candidate.round), candidate.usage, candidate.cost_usd)
        for call in account.judge_calls:
            self._count_usage(_speaker(call.outcome, call.judge), call.stage, call.outcome.usage, call.cost_usd)

    def _count_usage(self, member: str, stage: str, usage: Usage | None, cost_usd: float | None) -> None:
        if usage is not None:
            for kind, tokens in _kinds(usage):
                self._tally.count(TOKENS, member, stage, kind, by=tokens)
        if cost_usd:
            self._tally.count(COST, member, stage, by=cost_usd)

    def _count_verdicts(self, account: Account, verdict: Verdict | None) -> None:
        read: Counter[str] = Counter()
        for each in _given(verdict):
            orders = 1 if each.agreed is None else 2
            read[each.judge] += orders
            self._tally.count(VERDICTS, each.judge, by=orders)
            if each.agreed is False:
                self._tally.count(DISAGREEMENTS, each.judge)
            if each.tie_broken_by is not None:
                self._tally.count(TIES, each.judge)
        if verdict is not None:
            self._tally.count(WINS, verdict.winner)
        asked = Counter(
            _speaker(call.outcome, call.judge)
            for call in account.judge_calls
            if call.stage == "judge" and isinstance(call.outcome, Completion)
        )
        for judge, number in (asked - read).items():
            self._tally.count(INVALID, judge, by=number)

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
    """A watcher, and when it was given the first piece of the answer, on the event loop's clock; None before."""

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


def _given(verdict: Verdict | None) -> Sequence[Verdict]:
    """The verdicts of single judge models."""
    if verdict is None:
        return ()
    return verdict.jury.verdicts if verdict.jury else (verdict,)


def _speaker(outcome: object, asked: str) -> str:
    """Who answered: whom was asked, or its stand-in."""
    return (outcome.answered_by or asked) if isinstance(outcome, Completion) else asked


def _kinds(usage: Usage) -> Iterator[tuple[str, int]]:
    yield "input", usage.input_tokens
    yield "output", usage.output_tokens
    yield "cached", usage.cached_tokens or 0
    yield "reasoning", usage.reasoning_tokens or 0
