"""What wrappers and recorders count, as Ray's metrics. docs/metrics.md lists them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.serve import metrics

from deployments.resilience.resilient import Counted

Make = Callable[..., Any]


PREFIX = "fusion_member_"


RECORDINGS_PREFIX = "fusion_recordings_"


PERIOD_S = 1.0


METRICS: Mapping[str, str] = {
    "breaker_state": "0 closed, 1 half-open, 2 open",
    "breaker_openings_total": "times that the breaker opened",
    "breaker_refusals_total": "calls that were not made because the breaker was open",
    "limit_running": "calls under way",
    "limit_queued": "calls that wait for a slot",
    "limit_waits_total": "calls that waited for a slot",
    "limit_waited_s_total": "seconds that calls waited for a slot",
    "limit_refusals_total": "calls that were not made because no slot was free in time",
    "retries_total": "calls that were repeated",
    "retries_unaffordable_total": "calls that were not repeated because the budget was used up",
    "retry_budget_left": "repetitions that the budget allows now",
    "hedges_total": "second calls made because the first was slow",
    "hedges_won_total": "second calls that won",
    "hedge_budget_left": "second calls that the budget allows now",
    "fallbacks_total": "calls to fallbacks",
    "fallbacks_answered_total": "calls that a fallback answered",
}
"""Every number of a member, without the prefix, and what it says."""


RECORDINGS_METRICS: Mapping[str, str] = {
    "written_total": "requests that were recorded",
    "dropped_total": "requests that were not recorded: too many waited to be written, or they cannot be",
    "write_failures_total": "attempts to write, or to hand over a file, that failed",
    "queued": "requests that wait to be written",
}
"""The same of recording requests."""


JUDGE_METRICS: Mapping[str, str] = {
    "running": "requests under way",
    "queued": "requests that wait for their turn",
    "refusals_total": "requests that were refused because too many waited",
    "target_queue_depth": "requests that it is meant to have, under way or waiting",
}
"""The same of a judge replica's turns."""


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics that begin alike. `tag` is what tells those who count apart, None where there is one alone."""

    prefix: str
    says: Mapping[str, str]
    tag: str | None


MEMBERS = Family(PREFIX, METRICS, "member")


RECORDINGS = Family(RECORDINGS_PREFIX, RECORDINGS_METRICS, None)


JUDGE = Family("fusion_judge_", JUDGE_METRICS, None)


class Exporter:
    """Exports what is counted, by members unless another family is given, each under its name: what ends in `_total` as
    counters, all else as gauges."""

    def __init__(
        self,
        members: Mapping[str, Counted],
        counter: Make = metrics.Counter,
        gauge: Make = metrics.Gauge,
        family: Family = MEMBERS,
    ) -> None:
        self._members = members
        self._family = family
        self._counter = counter
        self._gauge = gauge
        self._made: dict[str, Any] = {}
        self._exported: dict[tuple[str, str], float] = {}

    def start(self) -> None:
        """Export about once a second from now on, in the running event loop, for as long as it runs."""
        if self._members:
            keep_exporting(self.export)

    def export(self) -> None:
        """Export what holds now."""
        for member, counted in self._members.items():
            for name, number in counted.counters().items():
                tags = {} if self._family.tag is None else {self._family.tag: member}
                if not name.endswith("_total"):
                    self._metric(name, self._gauge).set(number, tags)
                elif grown := self._growth(member, name, number):
                    self._metric(name, self._counter).inc(grown, tags)

    def _growth(self, member: str, name: str, number: float) -> float:
        """How much a counter has grown since its last export. One that shrank belongs to a member that was replaced,
        and began at zero."""
        exported = self._exported.get((member, name), 0)
        self._exported[member, name] = number
        return number - exported if number >= exported else number

    def _metric(self, name: str, make: Make) -> Any:
        if name not in self._made:
            family = self._family
            tag_keys = () if family.tag is None else (family.tag,)
            self._made[name] = make(family.prefix + name, description=family.says[name], tag_keys=tag_keys)
        return self._made[name]


def keep_exporting(export: Callable[[], None]) -> None:
    """Call it about once a second from now on, in the running event loop, for as long as it runs."""

    async def keep() -> None:
        while True:
            export()
            await asyncio.sleep(PERIOD_S)

    _EXPORTING.add(asyncio.get_running_loop().create_task(keep()))


_EXPORTING: set[asyncio.Task[None]] = set()
"""Held so that they are not collected while they run."""
