"""Latency and cost statistics of calls, per member and stage, kept in one replica."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf

MIN_SAMPLES = 8
"""Minimum number of samples for an estimate."""


WINDOW = 200
"""Maximum number of samples for one member and stage."""


MAX_AGE_S = 600.0
"""Older samples are dropped, so that estimates follow a member whose latency changes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: its duration until the answer, or until it was cancelled."""

    took_s: float
    answered: bool
    at: float


class Latencies:
    """The latency distribution of one member's latest calls, at most `WINDOW` and none older than `MAX_AGE_S`.

    A cancelled call is a censored sample: it would have taken longer than it ran. Without it a straggler would look
    fast, so the distribution is estimated from both kinds of samples (Kaplan and Meier 1958).
    """

    def __init__(self) -> None:
        self._recent: deque[Sample] = deque()
        # The same samples, sorted by duration: estimates read them several times a request.
        self._ordered: list[tuple[float, bool]] = []
        self._cancelled = 0

    def add(self, took_s: float, answered: bool, at: float) -> None:
        self._recent.append(Sample(took_s, answered, at))
        insort(self._ordered, (took_s, not answered))
        self._cancelled += not answered
        if len(self._recent) > WINDOW:
            self._forget()

    def known(self, now: float) -> int:
        """Drop old samples; return how many are left."""
        while self._recent and self._recent[0].at < now - MAX_AGE_S:
            self._forget()
        return len(self._recent)

    def quantile_s(self, share: float, now: float) -> float | None:
        """The time within which this share of the calls answers; the longest sample if too many calls were cancelled to
        know. None with fewer than `MIN_SAMPLES`."""
        known = self.known(now)
        if known < MIN_SAMPLES:
            return None
        if not self._cancelled:
            return self._ordered[max(0, ceil(share * known - 1e-9) - 1)][0]
        for took_s, running in self._survival(0.0):
            if running <= 1 - share + 1e-9:
                return took_s
        return self._ordered[-1][0]

    def worthwhile_wait_s(self, age_s: float, value_s: float, now: float) -> float | None:
        """Optimal additional wait for a call that has run for `age_s`, if its answer is worth `value_s` of waiting.

        It is the time t that maximizes

            value_s * P(answer within t) - E[time waited, at most t]

        While the call runs, the only news is that it has not answered, so a fixed time is the best rule. None if fewer
        than `MIN_SAMPLES` calls ran for that long.
        """
        if self.known(now) - self._first_after(age_s) < MIN_SAMPLES:
            return None
        best, pays_s, waited_s, last_s, running = 0.0, 0.0, 0.0, age_s, 1.0
        for took_s, runs_on in self._survival(age_s):
            waited_s += running * (took_s - last_s)
            last_s, running = took_s, runs_on
            if (gain := value_s * (1 - running) - waited_s) > best:
                best, pays_s = gain, took_s - age_s
        return pays_s

    def _survival(self, age_s: float) -> Iterator[tuple[float, float]]:
        """Each time at which a call answered, with the share of the calls running at `age_s` that still run then."""
        running = 1.0
        known = len(self._ordered)
        for index in range(self._first_after(age_s), known):
            took_s, cancelled = self._ordered[index]
            if not cancelled:
                running *= 1 - 1 / (known - index)
                yield took_s, running

    def _first_after(self, age_s: float) -> int:
        return bisect_right(self._ordered, (age_s, inf))

    def _forget(self) -> None:
        oldest = self._recent.popleft()
        self._cancelled -= not oldest.answered
        del self._ordered[bisect_right(self._ordered, (oldest.took_s, not oldest.answered)) - 1]


_COST_WEIGHT = 0.1  # of the last call, in the mean of those before it


Key = tuple[str, str]
"""A member and a stage: `panel`, `rebuttal`, or a judge's stage, which is `write` where it writes the answer."""


class CallStats:
    """Latency and cost statistics by member and stage, kept in memory for the life of a replica.

    Times are the event loop's. Only numbers are kept, no prompts or answers.
    """

    def __init__(self) -> None:
        self._latencies: dict[Key, Latencies] = {}
        self._costs_usd: dict[Key, float] = {}

    def record(
        self, member: str, stage: str, took_s: float, *, answered: bool, at: float, cost_usd: float | None = None
    ) -> None:
        """Add a call that was answered, or cancelled after `took_s`. A failed call is no sample: it does not tell how
        long an answer takes."""
        self._latencies.setdefault((member, stage), Latencies()).add(took_s, answered, at)
        if cost_usd is not None:
            last_usd = self._costs_usd.get((member, stage), cost_usd)
            self._costs_usd[member, stage] = last_usd + _COST_WEIGHT * (cost_usd - last_usd)

    def quantile_s(self, member: str, stage: str, share: float, now: float) -> float | None:
        """See `Latencies.quantile_s`."""
        latencies = self._latencies.get((member, stage))
        return None if latencies is None else latencies.quantile_s(share, now)

    def worthwhile_wait_s(self, member: str, stage: str, age_s: float, value_s: float, now: float) -> float | None:
        """See `Latencies.worthwhile_wait_s`."""
        latencies = self._latencies.get((member, stage))
        return None if latencies is None else latencies.worthwhile_wait_s(age_s, value_s, now)

    def mean_cost_usd(self, member: str, stage: str) -> float | None:
        """The moving average of a call's cost; None if unknown."""
        return self._costs_usd.get((member, stage))
