"""A fleet of replicas under a scaling policy, event by event.

Requests that arrive in the same tick are one cohort, so that 50,000 a second cost no more than five. A cohort waits in
one queue, is let in as places come free, and ends in parts, at the quantiles of the time that a request takes. Replicas
that start take their time; replicas that are not needed end at once, and what runs in them runs on.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import simpy

from tests.simulation.arrivals import Trace
from tests.simulation.policies import Observed, Scaler

TICK_S = 0.25
_PARTS = 8


@dataclass(frozen=True)
class Service:
    """What a request and a replica are like.

    A request takes a lognormal time of median `median_s` while its replica has time for it, and `cpu_s` of the
    replica's one core. A replica runs `max_ongoing` at once, and `max_queued` more may wait for it; more are refused.
    It starts in `start_s`, give or take a fifth.
    """

    median_s: float = 2.0
    sigma: float = 0.4
    cpu_s: float = 0.008
    max_ongoing: int = 256
    max_queued: int = 512
    deadline_s: float = 10.0
    start_s: float = 8.0

    @property
    def quantiles_s(self) -> list[float]:
        """The time that each part of a cohort takes."""
        normal = NormalDist()
        return [self.median_s * math.exp(self.sigma * normal.inv_cdf((part + 0.5) / _PARTS)) for part in range(_PARTS)]


@dataclass
class Outcome:
    """What came of it. A miss is a request that was answered after its deadline, or refused; a turn is a step up after
    one down, or the other way round."""

    arrived: float = 0.0
    late: float = 0.0
    refused: float = 0.0
    replica_s: float = 0.0
    turns: int = 0
    times_s: list[float] = field(default_factory=list[float])
    rates: list[float] = field(default_factory=list[float])
    replicas: list[int] = field(default_factory=list[int])
    waits_s: list[float] = field(default_factory=list[float])

    @property
    def missed(self) -> float:
        """The part of all requests that missed."""
        return (self.late + self.refused) / self.arrived if self.arrived else 0.0

    @property
    def replica_hours(self) -> float:
        return self.replica_s / 3600


class Fleet:
    """One deployment under one trace and one policy."""

    def __init__(self, trace: Trace, service: Service, scaler: Scaler, replicas: int, most: int, seed: int = 7) -> None:
        self._trace, self._service, self._scaler, self._most = trace, service, scaler, most
        self._dice = random.Random(seed)
        self._env = simpy.Environment()
        self._replicas = self._target = replicas
        self._waiting: deque[tuple[float, float]] = deque()
        self._queued = 0.0
        self._running = 0.0
        self._ending: dict[int, float] = {}
        self._history: deque[tuple[float, float, float]] = deque()
        self._went_up = True
        self._told = Observed(0.0, 0.0, None)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        for process in (self._serve(), self._tell(), self._scale()):
            self._env.process(process)
        self._env.run(until=self._trace.lasts_s)
        return self.outcome

    def _serve(self) -> Generator[Any, Any, None]:
        quantiles = self._service.quantiles_s
        tick = 0
        while True:
            now = self._env.now
            self._running -= self._ending.pop(tick, 0.0)
            rate = self._trace.rate(now)
            self._arrive(now, rate * TICK_S)
            self._let_in(now, tick, quantiles)
            self._record(now, rate)
            yield self._env.timeout(TICK_S)
            tick += 1

    def _arrive(self, now: float, requests: float) -> None:
        room = max(0.0, self._replicas * (self._service.max_ongoing + self._service.max_queued))
        taken = min(requests, max(0.0, room - self._running - self._queued))
        self.outcome.arrived += requests
        self.outcome.refused += requests - taken
        if taken > 0:
            self._waiting.append((now, taken))
            self._queued += taken

    def _let_in(self, now: float, tick: int, quantiles: list[float]) -> None:
        free = self._replicas * self._service.max_ongoing - self._running
        while self._waiting and free > 1e-9:
            came, requests = self._waiting.popleft()
            entering = min(requests, free)
            if entering < requests:
                self._waiting.appendleft((came, requests - entering))
            free -= entering
            self._queued -= entering
            self._running += entering
            # All share the cores: with more to compute than there is time, everything takes longer.
            computed = self._running * self._service.cpu_s / self._service.median_s
            slower = max(1.0, computed / max(1, self._replicas))
            for quantile in quantiles:
                took = quantile * slower
                ends = tick + max(1, round(took / TICK_S))
                self._ending[ends] = self._ending.get(ends, 0.0) + entering / _PARTS
                if now - came + took > self._service.deadline_s:
                    self.outcome.late += entering / _PARTS

    def _record(self, now: float, rate: float) -> None:
        outcome = self.outcome
        outcome.replica_s += max(self._target, self._replicas) * TICK_S
        self._history.append((now, self._running, self._queued))
        while self._history[0][0] < now - self._scaler.look_back_s:
            self._history.popleft()
        if len(outcome.times_s) * 5.0 <= now:
            outcome.times_s.append(now)
            outcome.rates.append(rate)
            outcome.replicas.append(self._replicas)
            outcome.waits_s.append(now - self._waiting[0][0] if self._waiting else 0.0)

    def _tell(self) -> Generator[Any, Any, None]:
        """What replicas push to the controller: an average over the look-back period."""
        while True:
            yield self._env.timeout(self._scaler.told_every_s)
            running = sum(each[1] for each in self._history) / len(self._history)
            queued = sum(each[2] for each in self._history) / len(self._history)
            self._told = Observed(running, queued, self._service.median_s)

    def _scale(self) -> Generator[Any, Any, None]:
        while True:
            yield self._env.timeout(self._scaler.asked_every_s)
            wanted = self._scaler.decide(self._told, self._replicas, self._target, self._env.now)
            wanted = max(1, min(self._most, wanted))
            if wanted == self._target:
                continue
            up = wanted > self._target
            self.outcome.turns += up is not self._went_up
            self._went_up = up
            if wanted > self._target:
                self._env.process(self._start(wanted - self._target))
            self._target = wanted
            self._replicas = min(self._replicas, self._target)

    def _start(self, count: int) -> Generator[Any, Any, None]:
        yield self._env.timeout(self._service.start_s * self._dice.uniform(0.8, 1.2))
        self._replicas = min(self._replicas + count, self._target)
