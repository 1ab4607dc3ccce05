"""The calls to judge models of one fused request: made at once, each for its time, and the words of the one that writes
the answer handed on as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from fusion.chat import Call, Completion, Delta
from fusion.errors import JudgeInterrupted, MemberError, MemberTimeout
from fusion.limits.context import without_images
from fusion.presets import Task
from fusion.progress import JudgeAsked, JudgeEnded, Observer, Watcher, tell
from fusion.runtime.member_calls import Calls, cancelled_itself
from fusion.steps import JUDGE_STAGES, AskJudge, AskJudges, Outcome
from fusion.verbatim.restorer import Restorer


@dataclass(frozen=True, slots=True)
class _Turn:
    """A judge model's call under way. It is given up at `ends_at`, unless its words are being read."""

    ask: AskJudge
    call: Call
    number: int
    began_at: float
    ends_at: float
    task: asyncio.Task[Outcome]


@dataclass(slots=True)
class JudgeCalls:
    """Asks judge models. `asked` counts the calls, `took_ms` is the time that was spent on them, None when there were
    none, `written` what the watcher was handed of the answer, and `without_images` are those who were told of images
    and not shown any."""

    task: Task
    calls: Calls
    watcher: Watcher | None
    observers: Sequence[Observer]
    deadline_at: float
    asked: int = 0
    took_ms: float | None = None
    written: list[str] = field(default_factory=list[str])
    without_images: dict[str, None] = field(default_factory=dict[str, None])
    _writer: Call | None = None
    _restorer: Restorer | None = None
    _unsaid: list[Delta] = field(default_factory=list[Delta])

    async def ask(self, step: AskJudges) -> tuple[Outcome, ...]:
        """What the judge models say. Once words of one began to reach the watcher no other judge can take over, so from
        then on it has until the deadline.

        Raises:
            JudgeInterrupted: it failed when part of its answer had been handed to the watcher.
        """
        began_at = _now()
        outcomes: dict[int, Outcome] = {}
        turns: dict[int, _Turn] = {}
        jury_ends_at = inf

        def ends_at(index: int) -> float:
            return min(self._patience_at(turns[index]), jury_ends_at if index < step.jurors else inf)

        try:
            for index, ask in enumerate(step.asks):
                turn_s = min((self.deadline_at - began_at) * ask.share, self.task.preset.judge_timeout_s or inf)
                if turn_s > 0:
                    turns[index] = self._begin(ask, began_at, turn_s)
                else:
                    outcomes[index] = MemberTimeout("no time is left before the deadline", member=ask.judge)
            while not all(turn.ask.beside for turn in turns.values()):
                tasks = [turn.task for turn in turns.values()]
                timeout_s = max(0.0, min(ends_at(index) for index in turns) - _now())
                await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                for index, turn in list(turns.items()):
                    if turn.task.done() or ends_at(index) <= _now():
                        outcomes[index] = self._conclude(turns.pop(index))
                voted = sum(isinstance(outcomes.get(index), Completion) for index in range(step.jurors))
                if jury_ends_at == inf and voted > step.jurors // 2:
                    jury_ends_at = _now() + step.grace * (_now() - began_at)
            for index in list(turns):
                outcomes[index] = self._conclude(turns.pop(index))
        finally:
            for turn in turns.values():
                self.calls.stop(turn.task)
            self._writer = None
            if self.asked:
                self.took_ms = (self.took_ms or 0.0) + (_now() - began_at) * 1e3
        return tuple(outcomes[index] for index in range(len(step.asks)))

    def _begin(self, ask: AskJudge, began_at: float, turn_s: float) -> _Turn:
        self.asked += 1
        tell(JudgeAsked(ask.judge, self.asked, ask.stage), self.watcher, self.observers)
        writes = ask.streams and self.watcher is not None
        request = ask.request
        if request.images and not self.task.profiles[ask.judge].takes_images:
            request = without_images(request)
            self.without_images[ask.judge] = None
        own, more = request.sampling, self.task.judge_sampling
        request = replace(request, sampling=own.over(more) if ask.streams else more.over(own))
        call = Call(ask.judge, request, self.deadline_at - began_at if writes else turn_s, purpose="judge")
        if writes:
            self._writer = call
            self._restorer = Restorer(ask.offer) if ask.offer else None
            self._unsaid.clear()
        emit = partial(self._write, call) if writes else None
        task = asyncio.create_task(self.calls.ask(call, emit, ballot=ask.ballot, stage=ask.stage))
        return _Turn(ask, call, self.asked, began_at, began_at + turn_s, task)

    def _patience_at(self, turn: _Turn) -> float:
        return self.deadline_at if self.written and turn.call is self._writer else turn.ends_at

    def _conclude(self, turn: _Turn) -> Outcome:
        """What a judge model's call came to, told and paid for. One that has not ended is stopped."""
        task, judge = turn.task, turn.ask.judge
        in_time = task.done()
        wrote = turn.call is self._writer and bool(self.written)
        if turn.call is self._writer:
            if wrote or (in_time and not task.cancelled() and isinstance(task.result(), Completion)):
                self._write_rest()
            self._writer = None
        took_s = _now() - turn.began_at
        if not in_time:
            self.calls.stop(task)
            outcome = MemberTimeout(f"no decision within {took_s:.1f} s", member=judge)
        else:
            outcome = cancelled_itself(judge) if task.cancelled() else task.result()
        cost_usd = self.calls.cost_usd(judge, outcome)
        status = "answered" if isinstance(outcome, Completion) else "failed" if in_time else "cancelled"
        self.calls.learn(judge, JUDGE_STAGES["merge"] if turn.ask.streams else turn.ask.stage, took_s, status, cost_usd)
        if wrote or outcome.usage or isinstance(outcome, Completion):
            self.calls.ledger.charge(turn.ask.stage, outcome.usage, cost_usd)
        for observer in self.observers:
            ended = outcome if isinstance(outcome, Completion) else outcome.as_failure()
            observer.told(JudgeEnded(judge, ended, took_s * 1e3, cost_usd, turn.number))
        if isinstance(outcome, MemberError) and wrote:
            written = None if in_time else Completion("".join(self.written), finish_reason="length")
            raise JudgeInterrupted(f"the judge model broke off in mid-answer: {outcome.code}", partial=written)
        return outcome

    def _write(self, call: Call, delta: Delta) -> None:
        """Hand on a piece of the answer, unless its writer was given up."""
        if call is not self._writer:
            return
        if self._restorer and delta.text:
            delta = replace(delta, text=self._restorer.feed(delta.text))
            if not (delta.text or delta.tool_calls or delta.reasoning):
                return
        self._hand_on(delta)

    def _write_rest(self) -> None:
        """Hand on what was held back of the answer."""
        if self._restorer and (rest := self._restorer.finish()):
            self._hand_on(Delta(rest))

    def _hand_on(self, delta: Delta) -> None:
        """Blank pieces wait for the first word, so that a judge model which never writes one can still be replaced."""
        if self.watcher is None:
            return
        self._unsaid.append(delta)
        if self.written or delta.text.strip() or delta.tool_calls:
            for piece in self._unsaid:
                self.written.append(piece.text)
                self.watcher.delta(piece)
            self._unsaid.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()
