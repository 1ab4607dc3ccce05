"""Carries out a plan. With the calls that it makes it is all in `fusion` that starts tasks and looks at the clock, the
event loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from fusion.ballot import Ballot
from fusion.chat import Call, Completion, Delta, Request, ToolCallDelta
from fusion.errors import JudgeInterrupted, MemberError
from fusion.limits.budget import Budget, within_budget
from fusion.limits.call_stats import Experience
from fusion.limits.context import askable, counted
from fusion.limits.deadline import skips_for
from fusion.member import Emit
from fusion.modes import MODES
from fusion.modes.outcomes import told_of_broken_terms
from fusion.presets import SKIPS, Pool, Task
from fusion.progress import (
    CandidateEnded,
    CandidateGrew,
    Observer,
    PanelConvened,
    Progress,
    Watcher,
    tell,
)
from fusion.results import Budgeted, Candidate, Fit, Fused, Timings
from fusion.runtime.accounting import saved
from fusion.runtime.judge_calls import JudgeCalls
from fusion.runtime.member_calls import Calls, event_of, outcome_event
from fusion.runtime.prefill import Prefill
from fusion.runtime.round import (
    Abandoned,
    Ask,
    Cancel,
    Close,
    Command,
    Event,
    Opening,
    Round,
    RoundPolicy,
    Ticked,
    WakeAt,
)
from fusion.steps import Ahead, AskJudges, Convene, Decision, Reply, RoundResult, Step, panel_stage

JUDGE_RESERVE = 0.25
"""The share of the time left at a round's start that stragglers cannot use up: it is kept for what comes after."""


OPENING_SHARE = 0.25
"""The share of the time left that the members of an opening have for themselves."""


async def fuse(
    task: Task,
    pool: Pool,
    *,
    watcher: Watcher | None = None,
    started_at: float | None = None,
    observers: Sequence[Observer] = (),
    experience: Experience | None = None,
) -> Fused:
    """Answer one request with a panel.

    Args:
        task: what is asked, of whom, and under which policy.
        pool: every member that the task names.
        watcher: told of progress and of the answer's deltas as they come.
        started_at: the event loop's time at which the request arrived; the deadline counts from it.
        observers: told of progress and of every judge model's outcome.
        experience: what earlier requests took, which tells how long to wait and what there is time for; it learns from
            this one.

    Raises:
        MemberRejected: too few of the panel can take the request; nothing was asked.
        PriceUnknown, BudgetTooSmall: the task's budget cannot be kept, or does not pay for a quorum; nothing was asked.
        NoQuorum: too few members answered.
        JudgeInterrupted: the judge model failed when part of its answer had been handed to the watcher.
    """
    experience = experience or Experience()
    started_at = _now() if started_at is None else started_at
    deadline_at = started_at + task.preset.policy.deadline_s
    task = askable(task, await counted(task, pool, deadline_at - _now()))
    task, budgeted = within_budget(task)
    budget = None if budgeted is None else Budget(budgeted.max_cost_usd, task.profiles)
    skips = task.skips | skips_for(task.preset, deadline_at - _now(), experience, _now())
    task, calls = replace(task, skips=skips), Calls(pool, experience, budget)
    judges = JudgeCalls(task, calls, watcher, observers, deadline_at)
    return await _Run(task, calls, judges, budgeted, watcher, observers, started_at, deadline_at).run()


@dataclass(slots=True)
class _Run:
    task: Task
    calls: Calls
    judges: JudgeCalls
    budgeted: Budgeted | None
    watcher: Watcher | None
    observers: Sequence[Observer]
    started_at: float
    deadline_at: float
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    panel_s: float = 0.0
    rounds: list[Round] = field(default_factory=list[Round])

    async def run(self) -> Fused:
        for candidate in self.task.left_out:
            self._tell(CandidateEnded(candidate))
        plan = told_of_broken_terms(self.task, MODES[self.task.preset.mode](self.task))
        try:
            step = next(plan)
            while True:
                try:
                    reply = await self._carry_out(step)
                except (MemberError, JudgeInterrupted) as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(reply)
        except StopIteration as finished:
            decision: Decision = finished.value
            if self.watcher and not self.judges.written:
                self.watcher.delta(_whole(decision.completion))
        finally:
            plan.close()
            await self.calls.await_losers()
        return self._result(decision)

    async def _carry_out(self, step: Step) -> Reply:
        if isinstance(step, Convene):
            return await self._convene(step)
        if isinstance(step, AskJudges):
            return await self.judges.ask(step)
        [outcome] = await self.judges.ask(AskJudges((step,)))
        if isinstance(outcome, MemberError):
            raise outcome
        return outcome

    async def _convene(self, step: Convene) -> RoundResult:
        began_at = _now()
        reserve = 0.0 if "judge" in self.task.skips else JUDGE_RESERVE
        patience_at = began_at + (self.deadline_at - began_at) * (1 - reserve)
        policy = self.task.preset.policy
        stage = panel_stage(step.round)
        panel = Round(
            members=tuple(step.requests),
            policy=RoundPolicy(
                quorum=self.task.preset.quorum,
                straggler_grace=policy.straggler_grace,
                patience_at=patience_at,
                deadline_at=patience_at if step.optional else self.deadline_at,
                settled=step.settled,
                pays=partial(self._pays_for_s, stage) if policy.adaptive_grace else None,
                opening=step.opening and Opening(step.opening.members, step.opening.settled, self._widen_at(began_at)),
            ),
            started_at=began_at,
            number=step.round,
        )
        running: dict[str, asyncio.Task[Event]] = {}
        prefill = self._prefill(step.ahead)
        try:
            await self._play(panel, step, running, prefill)
        finally:
            if prefill:
                prefill.stop()
            self._carry_out_cancels(panel.handle(Abandoned(_now())), running)
            self.panel_s += _now() - began_at
        candidates = tuple(self.calls.priced(candidate) for candidate in panel.outcomes)
        for candidate in candidates:
            self.calls.charge(candidate, stage)
        self.candidates += candidates
        self.rounds.append(panel)
        shown = tuple(prefill.shown) if prefill else ()
        return RoundResult(candidates, panel.has_quorum, panel.timed_out, shown)

    def _prefill(self, ahead: Ahead | None) -> Prefill | None:
        member = None if ahead is None else self.calls.pool.prefilling.get(ahead.judge)
        if ahead is None or member is None or self.calls.budget is not None:
            return None
        return Prefill(ahead, member, self.calls, self.task.seed, self.deadline_at)

    async def _play(
        self, panel: Round, step: Convene, running: dict[str, asyncio.Task[Event]], prefill: Prefill | None
    ) -> None:
        """Feed the round its events until it closes; `running` holds the calls that are under way."""
        wake_at = self.deadline_at
        commands = panel.start()
        ended: set[str] = set()
        while True:
            if asked := tuple(command.member for command in commands if isinstance(command, Ask)):
                self._tell(PanelConvened(asked, step.round))
            for command in commands:
                if isinstance(command, Ask):
                    call = self._call_to(command.member, step.requests[command.member])
                    asking = self._candidate(call, step.round, running, step.ballots.get(command.member))
                    running[command.member] = asyncio.create_task(asking)
                elif isinstance(command, WakeAt):
                    wake_at = command.at
            self._carry_out_cancels(commands, running)
            if self.watcher or self.observers:
                for candidate in panel.outcomes:
                    if candidate.member not in ended:
                        ended.add(candidate.member)
                        self._tell(CandidateEnded(self.calls.priced(candidate)))
            if panel.closed:
                return
            if prefill and panel.in_grace:
                prefill.send([candidate for candidate in panel.outcomes if candidate.status == "answered"])
            await asyncio.wait(
                running.values(), timeout=max(0.0, wake_at - _now()), return_when=asyncio.FIRST_COMPLETED
            )
            finished = [member for member, task in running.items() if task.done()]
            events = sorted((event_of(member, running.pop(member)) for member in finished), key=lambda event: event.at)
            commands = [command for event in [*events, Ticked(_now())] for command in panel.handle(event)]

    def _carry_out_cancels(self, commands: Iterable[Command], running: dict[str, asyncio.Task[Event]]) -> None:
        for command in commands:
            if isinstance(command, Cancel) and command.member in running:
                self.calls.stop(running.pop(command.member))
            elif isinstance(command, Close):
                return

    async def _candidate(self, call: Call, number: int, running: Mapping[str, object], ballot: Ballot | None) -> Event:
        """One member's call as the event it ends in. Its deltas are reported for as long as it is `running`."""
        watcher = self.watcher
        emit: Emit | None = None
        if watcher and watcher.watches_candidates:

            def report(delta: Delta) -> None:
                if call.member in running:
                    watcher.progress(CandidateGrew(call.member, number, delta))

            emit = report
        outcome = await self.calls.ask(call, emit, ballot=ballot, stage=panel_stage(number))
        return outcome_event(call.member, outcome, _now())

    def _tell(self, event: Progress) -> None:
        tell(event, self.watcher, self.observers)

    def _pays_for_s(self, stage: str, member: str, age_s: float, worth_s: float) -> float | None:
        return self.calls.experience.pays_for_s(member, stage, age_s, worth_s, _now())

    def _widen_at(self, began_at: float) -> float:
        """When a panel is convened whether its first members have answered or not."""
        return began_at + (self.deadline_at - began_at) * OPENING_SHARE

    def _call_to(self, member: str, request: Request) -> Call:
        sampling = self.task.panel_sampling.over(request.sampling)
        if sampling is not request.sampling:
            request = replace(request, sampling=sampling)
        return Call(member, request, timeout_s=self.deadline_at - _now())

    def _result(self, decision: Decision) -> Fused:
        answered = [candidate for candidate in self.candidates if candidate.status == "answered"]
        total_ms = (_now() - self.started_at) * 1e3
        slowest_ms = max(candidate.latency_ms for candidate in answered)
        return Fused(
            completion=decision.completion,
            mode=self.task.preset.mode,
            judge=decision.judge,
            candidates=(*self.candidates, *self.task.left_out),
            verdict=decision.verdict,
            timings=Timings(total_ms, self.panel_s * 1e3, self.judges.took_ms),
            overhead_vs_slowest_member=total_ms / slowest_ms - 1 if slowest_ms > 0 else None,
            usage=self.calls.ledger.usage,
            cost_usd=self.calls.ledger.cost_usd,
            degraded=decision.degraded,
            dropped=tuple(skip for skip in SKIPS if skip in self.task.skips),
            stages=self.calls.ledger.stages,
            agreement=decision.agreement,
            assembly=decision.assembly,
            suspicious=decision.suspicious,
            analysis=decision.analysis,
            no_harm=decision.no_harm,
            fit=_fit(self.calls, self.judges),
            saved=saved(self.task.preset, self.rounds, self.judges.asked, self.calls.experience, _now()),
            budget=self.budgeted,
        )


def _fit(calls: Calls, judges: JudgeCalls) -> Fit | None:
    """What prompts took to fit; None when they did so as they were."""
    cuts = calls.fitting.cuts
    fit = Fit(tuple(cuts[key] for key in sorted(cuts)), tuple(judges.without_images))
    return None if fit == Fit() else fit


def _whole(completion: Completion) -> Delta:
    calls = tuple(
        ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(completion.tool_calls)
    )
    return Delta(completion.text, calls, completion.reasoning)


def _now() -> float:
    return asyncio.get_running_loop().time()
