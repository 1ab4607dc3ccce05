"""Calls one request's judge models: several at once, each within its time, and streams the answer to the watcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from fusion.chat import Call, Completion, Delta
from fusion.errors import JudgeInterrupted, MemberTimeout
from fusion.limits.eligibility import without_images
from fusion.presets import Task
from fusion.progress import JudgeAsked, JudgeEnded, Observer, Watcher, notify
from fusion.results import Failure
from fusion.runtime.member_calls import Calls, cancelled_itself
from fusion.steps import JUDGE_STAGES, AskJudge, Outcome
from fusion.verbatim.expander import ReferenceExpander


@dataclass(frozen=True, slots=True)
class _JudgeCall:
    """A judge model's call under way. It is cancelled at `ends_at`, unless part of its answer has been sent."""

    ask: AskJudge
    call: Call
    number: int
    began_at: float
    ends_at: float
    task: asyncio.Task[Outcome]


@dataclass(slots=True)
class JudgeCalls:
    """Asks judge models."""

    task: Task
    calls: Calls
    watcher: Watcher | None
    observers: Sequence[Observer]
    deadline_at: float
    """When the request's time is over, on the event loop's clock."""
    asked: int = 0
    """How many calls were made."""
    took_ms: float | None = None
    """The time that was spent on them, None when there were none."""
    written: list[str] = field(default_factory=list[str])
    """The pieces of the answer that the watcher has received."""
    without_images: dict[str, None] = field(default_factory=dict[str, None])
    """The judge models that were shown a note in the place of each image."""
    _writer: Call | None = None
    _expander: ReferenceExpander | None = None
    _held_back: list[Delta] = field(default_factory=list[Delta])

    async def ask(self, asks: Sequence[AskJudge], jurors: int = 0, grace: float = 0.0) -> tuple[Outcome, ...]:
        """Make the calls at once, as `fusion.steps.Run.ask_judges` says. Once the watcher has part of an answer no
        other judge model can take over, so from then on its writer has until the deadline.

        Raises:
            JudgeInterrupted: the writer failed when the watcher had part of its answer.
        """
        began_at = _now()
        outcomes: dict[int, Outcome] = {}
        calls: dict[int, _JudgeCall] = {}
        jury_ends_at = inf

        def ends_at(index: int) -> float:
            return min(self._ends_at(calls[index]), jury_ends_at if index < jurors else inf)

        try:
            for index, ask in enumerate(asks):
                call_s = min((self.deadline_at - began_at) * ask.share, self.task.preset.judge_timeout_s or inf)
                if call_s > 0:
                    calls[index] = self._begin(ask, began_at, call_s)
                else:
                    outcomes[index] = MemberTimeout("no time is left before the deadline").as_failure()
            while not all(call.ask.beside for call in calls.values()):
                tasks = [call.task for call in calls.values()]
                timeout_s = max(0.0, min(ends_at(index) for index in calls) - _now())
                await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                for index, call in list(calls.items()):
                    if call.task.done() or ends_at(index) <= _now():
                        outcomes[index] = self._conclude(calls.pop(index))
                voted = sum(isinstance(outcomes.get(index), Completion) for index in range(jurors))
                if jury_ends_at == inf and voted > jurors // 2:
                    jury_ends_at = _now() + grace * (_now() - began_at)
            for index in list(calls):
                outcomes[index] = self._conclude(calls.pop(index))
        finally:
            for call in calls.values():
                self.calls.stop(call.task)
            self._writer = None
            if self.asked:
                self.took_ms = (self.took_ms or 0.0) + (_now() - began_at) * 1e3
        return tuple(outcomes[index] for index in range(len(asks)))

    def _begin(self, ask: AskJudge, began_at: float, call_s: float) -> _JudgeCall:
        self.asked += 1
        notify(JudgeAsked(ask.judge, self.asked, ask.stage), self.watcher, self.observers)
        writes = ask.streams and self.watcher is not None
        request = ask.request
        if request.images and not self.task.profiles[ask.judge].takes_images:
            request = without_images(request)
            self.without_images[ask.judge] = None
        own, more = request.sampling, self.task.judge_sampling
        request = replace(request, sampling=own.over(more) if ask.streams else more.over(own))
        call = Call(ask.judge, request, self.deadline_at - began_at if writes else call_s, purpose="judge")
        if writes:
            self._writer = call
            self._expander = ReferenceExpander(ask.offer) if ask.offer else None
            self._held_back.clear()
        emit = partial(self._write, call) if writes else None
        task = asyncio.create_task(self.calls.ask(call, emit, ballot=ask.ballot, stage=ask.stage))
        return _JudgeCall(ask, call, self.asked, began_at, began_at + call_s, task)

    def _ends_at(self, under_way: _JudgeCall) -> float:
        return self.deadline_at if self.written and under_way.call is self._writer else under_way.ends_at

    def _conclude(self, under_way: _JudgeCall) -> Outcome:
        """Return the outcome of a call, once it is charged and reported. A call that has not ended is cancelled."""
        task, ask = under_way.task, under_way.ask
        judge = ask.judge
        in_time = task.done()
        wrote = under_way.call is self._writer and bool(self.written)
        if under_way.call is self._writer:
            if wrote or (in_time and not task.cancelled() and isinstance(task.result(), Completion)):
                self._write_rest()
            self._writer = None
        took_s = _now() - under_way.began_at
        if not in_time:
            self.calls.stop(task)
            outcome = MemberTimeout(f"no decision within {took_s:.1f} s").as_failure()
        else:
            outcome = cancelled_itself() if task.cancelled() else task.result()
        cost_usd = self.calls.cost_usd(judge, outcome)
        status = "answered" if isinstance(outcome, Completion) else "failed" if in_time else "cancelled"
        self.calls.learn(judge, JUDGE_STAGES["merge"] if ask.streams else ask.stage, took_s, status, cost_usd)
        if wrote or outcome.usage or isinstance(outcome, Completion):
            self.calls.ledger.charge(ask.stage, outcome.usage, cost_usd)
        for observer in self.observers:
            observer.on_event(JudgeEnded(judge, outcome, took_s * 1e3, cost_usd, under_way.number))
        if isinstance(outcome, Failure) and wrote:
            written = None if in_time else Completion("".join(self.written), finish_reason="length")
            raise JudgeInterrupted(f"the judge model broke off in mid-answer: {outcome.code}", partial=written)
        return outcome

    def _write(self, call: Call, delta: Delta) -> None:
        """Send a piece of the answer to the watcher, unless its writer was cancelled."""
        if call is not self._writer:
            return
        if self._expander and delta.text:
            delta = replace(delta, text=self._expander.feed(delta.text))
            if not (delta.text or delta.tool_calls or delta.reasoning):
                return
        self._send(delta)

    def _write_rest(self) -> None:
        """Send the rest of the answer that was held back for references."""
        if self._expander and (rest := self._expander.finish()):
            self._send(Delta(rest))

    def _send(self, delta: Delta) -> None:
        """Send a piece to the watcher. Blank ones are held back until the first that is not, so that a judge model
        which writes nothing else can still be replaced."""
        if self.watcher is None:
            return
        self._held_back.append(delta)
        if self.written or delta.text.strip() or delta.tool_calls:
            for piece in self._held_back:
                self.written.append(piece.text)
                self.watcher.on_delta(piece)
            self._held_back.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()
