"""Exports counters and gauges of this process as Ray's metrics. docs/metrics.md lists them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.serve import metrics

from deployments.resilience.resilient import Counted

MakeMetric = Callable[..., Any]
"""Creates a metric of Ray's from `name`, `description` and `tag_keys`."""


PERIOD_S = 1.0
"""Seconds between two exports."""


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics with a common prefix. `descriptions` has each by its name without the prefix: a counter where the name
    ends in `_total`, else a gauge. `label` distinguishes the sources of the numbers, None where there is one source."""

    prefix: str
    descriptions: Mapping[str, str]
    label: str | None

    def kind(self, name: str) -> str:
        """Whether a metric is a `counter` or a `gauge`."""
        return "counter" if name.endswith("_total") else "gauge"


MEMBER = Family(
    "fusion_member_",
    {
        "breaker_state": "state of the circuit breaker: 0 closed, 1 half-open, 2 open",
        "breaker_openings_total": "times the breaker opened",
        "breaker_refusals_total": "calls refused because the breaker was open",
        "limit_running": "calls in progress",
        "limit_queued": "calls waiting for a slot",
        "limit_waits_total": "calls that had to wait for a slot",
        "limit_wait_seconds_total": "time calls spent waiting for a slot",
        "limit_refusals_total": "calls refused because no slot was free in time",
        "retries_total": "calls that were retried",
        "retries_over_budget_total": "calls that were not retried because the retry budget was used up",
        "retry_budget_left": "retries that the budget allows now",
        "hedges_total": "second calls made because the first was slow",
        "hedges_won_total": "second calls that answered first",
        "hedge_budget_left": "second calls that the budget allows now",
        "fallbacks_total": "calls to fallback members",
        "fallbacks_answered_total": "calls that a fallback member answered",
    },
    "member",
)
"""What the wrappers around a member count."""


JUDGE = Family(
    "fusion_judge_",
    {
        "running": "requests in progress",
        "queued": "requests waiting for a slot",
        "refusals_total": "requests refused because too many were waiting",
        "target_queue_depth": "requests, in progress or waiting, that a replica should have",
    },
    None,
)
"""What a judge replica has to do."""


RECORDINGS = Family(
    "fusion_recordings_",
    {
        "written_total": "requests that were recorded",
        "dropped_total": "requests that were not recorded: too many were waiting, or they cannot be written",
        "write_failures_total": "failed attempts to write to a file or to deliver one",
        "queued": "requests waiting to be written",
    },
    None,
)
"""What a judge replica's recorder counts."""


class Exporter:
    """Exports the numbers of several sources, each under its name."""

    def __init__(
        self,
        sources: Mapping[str, Counted],
        counter: MakeMetric = metrics.Counter,
        gauge: MakeMetric = metrics.Gauge,
        family: Family = MEMBER,
    ) -> None:
        self._sources = sources
        self._family = family
        self._makers = {"counter": counter, "gauge": gauge}
        self._metrics: dict[str, Any] = {}
        self._exported: dict[tuple[str, str], float] = {}

    def start(self) -> None:
        """Export every `PERIOD_S` seconds from now on, in the running event loop, for as long as it runs."""
        if self._sources:
            keep_exporting(self.export)

    def export(self) -> None:
        """Set every gauge, and add to every counter what it grew by since the last export."""
        for source, counted in self._sources.items():
            tags = {} if self._family.label is None else {self._family.label: source}
            for name, number in counted.counters().items():
                if self._family.kind(name) == "gauge":
                    self._metric(name).set(number, tags)
                elif growth := self._growth(source, name, number):
                    self._metric(name).inc(growth, tags)

    def _growth(self, source: str, name: str, number: float) -> float:
        """How much a counter has grown since its last export. One that shrank belongs to a source that was replaced,
        and began at zero."""
        exported = self._exported.get((source, name), 0)
        self._exported[source, name] = number
        return number - exported if number >= exported else number

    def _metric(self, name: str) -> Any:
        if name not in self._metrics:
            family = self._family
            make = self._makers[family.kind(name)]
            tag_keys = () if family.label is None else (family.label,)
            self._metrics[name] = make(family.prefix + name, description=family.descriptions[name], tag_keys=tag_keys)
        return self._metrics[name]


def keep_exporting(export: Callable[[], None]) -> None:
    """Call `export` every `PERIOD_S` seconds from now on, in the running event loop, for as long as it runs."""

    async def keep() -> None:
        while True:
            export()
            await asyncio.sleep(PERIOD_S)

    _EXPORTING.add(asyncio.get_running_loop().create_task(keep()))


_EXPORTING: set[asyncio.Task[None]] = set()
"""References that keep the tasks from being collected while they run."""
