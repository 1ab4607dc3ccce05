"""What a judge replica has learnt from the calls it made: how long they take and what they cost."""

from __future__ import annotations

from fusion.latencies import Latencies

_COST_WEIGHT = 0.1  # of the last call, in the mean of those before it

Key = tuple[str, str]
"""A member, and what it was asked for: `panel`, `rebuttal`, or a judge's stage, `write` where it writes the answer."""


class Experience:
    """Kept in memory, for as long as the replica lives; bounded by the number of members and of stages.

    Times are those of the event loop. What is kept is numbers alone, nothing of what was asked or answered.
    """

    def __init__(self) -> None:
        self._latencies: dict[Key, Latencies] = {}
        self._costs_usd: dict[Key, float] = {}

    def record(
        self, member: str, stage: str, took_s: float, *, answered: bool, at: float, cost_usd: float | None = None
    ) -> None:
        """A call that was answered, or given up after `took_s`. Calls that failed say nothing about how long an answer
        takes: leave them out."""
        self._latencies.setdefault((member, stage), Latencies()).add(took_s, answered, at)
        if cost_usd is not None:
            last_usd = self._costs_usd.get((member, stage), cost_usd)
            self._costs_usd[member, stage] = last_usd + _COST_WEIGHT * (cost_usd - last_usd)

    def quantile_s(self, member: str, stage: str, share: float, now: float) -> float | None:
        """See `Latencies.quantile_s`."""
        latencies = self._latencies.get((member, stage))
        return None if latencies is None else latencies.quantile_s(share, now)

    def pays_for_s(self, member: str, stage: str, age_s: float, worth_s: float, now: float) -> float | None:
        """See `Latencies.pays_for_s`."""
        latencies = self._latencies.get((member, stage))
        return None if latencies is None else latencies.pays_for_s(age_s, worth_s, now)

    def mean_cost_usd(self, member: str, stage: str) -> float | None:
        """What a call costs on average, None when that is not known."""
        return self._costs_usd.get((member, stage))
