"""Latency and cost statistics of calls, per member and stage, kept in one replica."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf

MIN_SAMPLES = 8
"""So many calls have to be known before anything is concluded from them."""


WINDOW = 200


MAX_AGE_S = 600.0
"""What is older is forgotten, so that a member which became faster is found out."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One call: how long it took, or for how long it was waited when it was given up."""

    took_s: float
    answered: bool
    at: float


class Latencies:
    """The last calls of one kind to one member, at most `WINDOW` of them and none older than `MAX_AGE_S`.

    A call that was given up is known to take longer than it was waited for. Leaving it out would make a straggler look
    fast, so the distribution is estimated from both (Kaplan and Meier 1958).
    """

    def __init__(self) -> None:
        self._recent: deque[Observed] = deque()
        # The same in the order of their times, kept so: it is looked at several times a request.
        self._ordered: list[tuple[float, bool]] = []
        self._given_up = 0

    def add(self, took_s: float, answered: bool, at: float) -> None:
        self._recent.append(Observed(took_s, answered, at))
        insort(self._ordered, (took_s, not answered))
        self._given_up += not answered
        if len(self._recent) > WINDOW:
            self._forget()

    def known(self, now: float) -> int:
        """How many calls are known."""
        while self._recent and self._recent[0].at < now - MAX_AGE_S:
            self._forget()
        return len(self._recent)

    def quantile_s(self, share: float, now: float) -> float | None:
        """The time within which this share of the calls answers; where so many were given up that it is not known, the
        longest time that any was waited for. None with less than `MIN_SAMPLES`."""
        known = self.known(now)
        if known < MIN_SAMPLES:
            return None
        if not self._given_up:
            return self._ordered[max(0, ceil(share * known - 1e-9) - 1)][0]
        for took_s, running in self._survival(0.0):
            if running <= 1 - share + 1e-9:
                return took_s
        return self._ordered[-1][0]

    def pays_for_s(self, age_s: float, worth_s: float, now: float) -> float | None:
        """How much longer it pays to wait for a call that has run for `age_s` seconds, when its answer is worth
        `worth_s` seconds of waiting: the time t that makes the most of

            worth_s * P(it answers within t more) - E[the time waited, at most t]

        Nothing is learnt while one waits but that it has not answered yet, so the best rule is a time fixed beforehand.
        None when less than `MIN_SAMPLES` of the calls are known to have run that long.
        """
        if self.known(now) - self._first_after(age_s) < MIN_SAMPLES:
            return None
        best, pays_s, waited_s, last_s, running = 0.0, 0.0, 0.0, age_s, 1.0
        for took_s, runs_on in self._survival(age_s):
            waited_s += running * (took_s - last_s)
            last_s, running = took_s, runs_on
            if (gain := worth_s * (1 - running) - waited_s) > best:
                best, pays_s = gain, took_s - age_s
        return pays_s

    def _survival(self, age_s: float) -> Iterator[tuple[float, float]]:
        """The share of calls that still run after each time at which one answered, of those that ran at `age_s`."""
        running = 1.0
        known = len(self._ordered)
        for index in range(self._first_after(age_s), known):
            took_s, given_up = self._ordered[index]
            if not given_up:
                running *= 1 - 1 / (known - index)
                yield took_s, running

    def _first_after(self, age_s: float) -> int:
        return bisect_right(self._ordered, (age_s, inf))

    def _forget(self) -> None:
        oldest = self._recent.popleft()
        self._given_up -= not oldest.answered
        del self._ordered[bisect_right(self._ordered, (oldest.took_s, not oldest.answered)) - 1]


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
