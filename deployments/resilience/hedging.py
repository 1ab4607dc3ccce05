"""A second call when the first one is slower than it usually is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deployments.resilience.emit_gate import NOTHING
from deployments.resilience.latencies import Latencies
from deployments.resilience.retry_budget import RetryBudget
from fusion.chat import Call, Completion, Delta
from fusion.member import Emit, Member

LOSER_WAIT_S = 0.5
"""How long an answer waits for the loser to end once it is cancelled."""


@dataclass(frozen=True, slots=True)
class HedgeSettings:
    """A second call is made when the first has taken longer than `quantile` of the last `window` calls, once there are
    `min_samples` of them; second calls are at most `budget_percent` of all (Dean and Barroso 2013, "The Tail at
    Scale")."""

    quantile: float = 0.95
    window: int = 200
    min_samples: int = 20
    budget_percent: int = 5


class Hedging:
    """Asks `second`, another backend or replica, as well when `member` takes unusually long.

    The first to succeed wins; of streamed answers the first to emit wins, and the time to the first delta is compared.
    The loser is cancelled and awaited. A first call that fails before the second one is made fails the whole: repeating
    is not this wrapper's business. When both fail, the first one's error is raised.
    """

    def __init__(self, member: Member, second: Member, settings: HedgeSettings) -> None:
        self._member = member
        self._second = second
        self._settings = settings
        self._whole = Latencies(settings.window)
        self._first_delta = Latencies(settings.window)
        self._budget = RetryBudget(percent=settings.budget_percent, reserve=0)
        self._hedges = 0
        self._won = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        latencies = self._whole if emit is None else self._first_delta
        self._budget.deposit()
        race = _Race(emit)
        ends_at = _now() + call.timeout_s
        try:
            race.enter(self._member, call)
            if len(latencies) >= self._settings.min_samples:
                decided = await race.decided_within(latencies.quantile(self._settings.quantile))
                left_s = ends_at - _now()
                if not decided and left_s > 0 and self._budget.try_spend():
                    self._hedges += 1
                    race.enter(self._second, replace(call, timeout_s=left_s))
            winner = await race.winner()
            first = race.lanes[0]
            if winner is not first:
                self._won += 1
            if not first.failed:
                # Of a first call that lost it is known that it would have taken longer still.
                latencies.add((first.heard_at or race.decided_at) - first.began_at)
            return winner.task.result()
        finally:
            await race.stop()

    def counters(self) -> Mapping[str, float]:
        return {
            "hedges_total": self._hedges,
            "hedges_won_total": self._won,
            "hedge_budget_left": self._budget.left,
        }


class _Lane:
    """One of the calls of a race. `heard_at` is when its first delta came, or its end where it is not streamed."""

    def __init__(self, race: _Race, member: Member, call: Call) -> None:
        self._race = race
        self.began_at = _now()
        self.heard_at: float | None = None
        self.task = asyncio.create_task(self._run(member, call))
        self.task.add_done_callback(self._ended)

    @property
    def succeeded(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None

    @property
    def failed(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is not None

    def _ended(self, task: asyncio.Task[Completion]) -> None:
        if not task.cancelled():
            task.exception()  # marks a loser's error as retrieved
        self._race.news.set()

    async def _run(self, member: Member, call: Call) -> Completion:
        completion = await member.ask(call, None if self._race.emit is None else self._emit)
        if self.heard_at is None:
            self.heard_at = _now()
        return completion

    def _emit(self, delta: Delta) -> None:
        race = self._race
        if delta != NOTHING and race.leader is None and not race.over:
            self.heard_at = _now()
            race.decide_for(self)
        if race.leader is self and not race.over and race.emit is not None:
            race.emit(delta)


class _Race:
    def __init__(self, emit: Emit | None) -> None:
        self.emit = emit
        self.lanes: list[_Lane] = []
        self.leader: _Lane | None = None
        self.decided_at = 0.0
        self.news = asyncio.Event()
        self.over = False

    def enter(self, member: Member, call: Call) -> None:
        self.lanes.append(_Lane(self, member, call))

    def decide_for(self, lane: _Lane) -> None:
        self.leader = lane
        self.decided_at = _now()
        self.news.set()

    async def decided_within(self, timeout_s: float) -> bool:
        """Whether the calls so far decide the race within this time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.news.wait()
        except TimeoutError:
            return False
        return True

    async def winner(self) -> _Lane:
        """The call that won.

        Raises:
            MemberError: there is none.
        """
        while True:
            self.news.clear()
            first_in = next((lane for lane in self.lanes if lane.succeeded), None)
            if self.leader is None and first_in is not None:
                self.decide_for(first_in)
            if self.leader is not None:
                await self._cancel([lane for lane in self.lanes if lane is not self.leader])
                await asyncio.wait([self.leader.task])
                self.leader.task.result()
                return self.leader
            if all(lane.task.done() for lane in self.lanes):
                self.lanes[0].task.result()
            await self.news.wait()

    async def stop(self) -> None:
        self.over = True
        await self._cancel(self.lanes)

    async def _cancel(self, lanes: list[_Lane]) -> None:
        running = [lane.task for lane in lanes if not lane.task.done() and lane.task not in _STOPPING]
        for task in running:
            task.cancel()
            _STOPPING.add(task)
            task.add_done_callback(_STOPPING.discard)
        if running:
            await asyncio.wait(running, timeout=LOSER_WAIT_S)


_STOPPING: set[asyncio.Task[Completion]] = set()
"""Calls that were cancelled and have not ended; held so that they are not collected while they run."""


def _now() -> float:
    return asyncio.get_running_loop().time()
