"""Answers one request: checks and plans it, runs its mode, and reports the result.

Together with `judge_calls`, `member_calls` and `prefill` the only module of `fusion` that starts tasks or reads the
event loop's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from fusion.ballot import Ballot, answer_text
from fusion.chat import Call, Completion, Delta, Request, ToolCallDelta
from fusion.limits.budget import Budget, within_budget
from fusion.limits.call_stats import CallStats
from fusion.limits.deadline import parts_to_skip
from fusion.limits.eligibility import keep_capable_members
from fusion.member import Emit
from fusion.modes import MODES
from fusion.modes.outcomes import flag_tool_rule_violations
from fusion.presets import SKIPS, Pool, Task
from fusion.progress import (
    CandidateEnded,
    CandidateGrew,
    Observer,
    PanelConvened,
    Progress,
    Watcher,
    notify,
)
from fusion.results import Budgeted, Candidate, Fit, Fused, Stage, Suspicion, Timings
from fusion.runtime.accounting import saved
from fusion.runtime.judge_calls import JudgeCalls
from fusion.runtime.member_calls import Calls, event_of, outcome_event
from fusion.runtime.prefill import Prefill
from fusion.runtime.round_state import (
    Abandoned,
    Ask,
    Cancel,
    Close,
    Command,
    Event,
    Round,
    RoundPolicy,
    Ticked,
    WakeAt,
)
from fusion.steps import AskJudge, Convene, Decision, Outcome, PrefillPlan, RoundResult, panel_stage
from fusion.text.sanitize import find_suspicions

JUDGE_RESERVE = 0.25
"""The part of the time left at a round's start that is kept from stragglers for the judge."""


OPENING_SHARE = 0.25
"""The part of the time left after which the whole panel is asked, whatever the members of an opening answered."""


async def fuse(
    task: Task,
    pool: Pool,
    *,
    watcher: Watcher | None = None,
    started_at: float | None = None,
    observers: Sequence[Observer] = (),
    call_stats: CallStats | None = None,
) -> Fused:
    """Answer one request with a panel.

    Args:
        task: what is asked, of whom, and under which policy.
        pool: every member that the task names.
        watcher: receives progress and the answer's deltas as they come.
        started_at: the event loop's time at which the request arrived; the deadline counts from it.
        observers: receive progress and every judge model's outcome.
        call_stats: statistics of earlier requests' calls, from which waits and the plan follow; this request's calls
        are added.

    Raises:
        MemberRejected: too few of the panel can take the request; no call was made.
        PriceUnknown, BudgetTooSmall: the task's budget cannot be kept, or does not pay for a quorum; no call
            was made.
        NoQuorum: too few members answered.
        JudgeInterrupted: the judge model failed when the watcher had part of its answer.
    """
    call_stats = call_stats or CallStats()
    started_at = _now() if started_at is None else started_at
    deadline_at = started_at + task.preset.policy.deadline_s
    capable = await keep_capable_members(task, pool, deadline_at - _now())
    affordable, budgeted = within_budget(capable)
    budget = None if budgeted is None else Budget(budgeted.max_cost_usd, task.profiles)
    skips = task.skips | parts_to_skip(affordable.preset, deadline_at - _now(), call_stats, _now())
    planned, calls = replace(affordable, skips=skips), Calls(pool, call_stats, budget)
    judges = JudgeCalls(planned, calls, watcher, observers, deadline_at)
    return await _RequestRun(planned, calls, judges, budgeted, watcher, observers, started_at, deadline_at).fuse()


@dataclass(slots=True)
class _RequestRun:
    """The `Run` of one request: what it keeps is what its result reports."""

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
    judged: dict[str, Candidate] = field(default_factory=dict[str, Candidate])
    """The candidates that judge models were shown last, by member."""

    async def fuse(self) -> Fused:
        for candidate in self.task.left_out:
            self._notify(CandidateEnded(candidate))
        try:
            decision = await MODES[self.task.preset.mode](self, self.task)
            decision = flag_tool_rule_violations(decision, self.task.request)
            if self.watcher and not self.judges.written:
                self.watcher.on_delta(_as_delta(decision.completion))
        finally:
            await self.calls.await_losers()
        return self._result(decision)

    async def ask_judges(self, asks: Sequence[AskJudge], *, jurors: int = 0, grace: float = 0.0) -> tuple[Outcome, ...]:
        for ask in asks:
            if ask.ballot is not None:
                self.judged |= {candidate.member: candidate for candidate in ask.ballot.candidates}
        return await self.judges.ask(asks, jurors, grace)

    async def convene(self, convene: Convene) -> RoundResult:
        began_at = _now()
        reserve = 0.0 if "judge" in self.task.skips else JUDGE_RESERVE
        patience_at = began_at + (self.deadline_at - began_at) * (1 - reserve)
        policy = self.task.preset.policy
        stage = panel_stage(convene.round)
        panel = Round(
            members=tuple(convene.requests),
            policy=RoundPolicy(
                quorum=self.task.preset.quorum,
                straggler_grace=policy.straggler_grace,
                patience_at=patience_at,
                deadline_at=patience_at if convene.optional else self.deadline_at,
                settled=convene.settled,
                worthwhile_wait=partial(self._worthwhile_wait_s, stage) if policy.adaptive_grace else None,
                opening=convene.opening,
                widen_at=began_at + (self.deadline_at - began_at) * OPENING_SHARE,
            ),
            started_at=began_at,
            number=convene.round,
        )
        running: dict[str, asyncio.Task[Event]] = {}
        prefill = self._prefill(convene.prefill)
        try:
            await self._play(panel, convene, running, prefill)
        finally:
            if prefill:
                prefill.stop()
            self._cancel(panel.handle(Abandoned(_now())), running)
            self.panel_s += _now() - began_at
        candidates = tuple(self.calls.priced(candidate) for candidate in panel.outcomes)
        for candidate in candidates:
            self.calls.charge(candidate, stage)
        self.candidates += candidates
        self.rounds.append(panel)
        prefilled = tuple(prefill.prefilled) if prefill else ()
        return RoundResult(candidates, panel.has_quorum, panel.timed_out, prefilled)

    def _prefill(self, plan: PrefillPlan | None) -> Prefill | None:
        member = None if plan is None else self.calls.pool.prefilling.get(plan.judge)
        if plan is None or member is None or self.calls.budget is not None:
            return None
        return Prefill(plan, member, self.calls, self.task.seed, self.deadline_at)

    async def _play(
        self, panel: Round, convene: Convene, running: dict[str, asyncio.Task[Event]], prefill: Prefill | None
    ) -> None:
        """Feed the round its events, and carry out its commands, until it closes; `running` holds the calls under
        way."""
        wake_at = self.deadline_at
        commands = panel.start()
        ended: set[str] = set()
        while True:
            if asked := tuple(command.member for command in commands if isinstance(command, Ask)):
                self._notify(PanelConvened(asked, convene.round))
            for command in commands:
                if isinstance(command, Ask):
                    call = self._call_to(command.member, convene.requests[command.member])
                    asking = self._candidate(call, convene.round, running, convene.ballots.get(command.member))
                    running[command.member] = asyncio.create_task(asking)
                elif isinstance(command, WakeAt):
                    wake_at = command.at
            self._cancel(commands, running)
            if self.watcher or self.observers:
                for candidate in panel.outcomes:
                    if candidate.member not in ended:
                        ended.add(candidate.member)
                        self._notify(CandidateEnded(self.calls.priced(candidate)))
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

    def _cancel(self, commands: Iterable[Command], running: dict[str, asyncio.Task[Event]]) -> None:
        for command in commands:
            if isinstance(command, Cancel) and command.member in running:
                self.calls.stop(running.pop(command.member))
            elif isinstance(command, Close):
                return

    async def _candidate(self, call: Call, number: int, running: Mapping[str, object], ballot: Ballot | None) -> Event:
        """Make one member's call, and return the event that it ends in. Its deltas are reported while it is
        `running`."""
        watcher = self.watcher
        emit: Emit | None = None
        if watcher and watcher.watches_candidates:

            def report(delta: Delta) -> None:
                if call.member in running:
                    watcher.on_progress(CandidateGrew(call.member, number, delta))

            emit = report
        outcome = await self.calls.ask(call, emit, ballot=ballot, stage=panel_stage(number))
        return outcome_event(call.member, outcome, _now())

    def _notify(self, event: Progress) -> None:
        notify(event, self.watcher, self.observers)

    def _worthwhile_wait_s(self, stage: Stage, member: str, age_s: float, value_s: float) -> float | None:
        return self.calls.call_stats.worthwhile_wait_s(member, stage, age_s, value_s, _now())

    def _suspicious(self) -> dict[str, tuple[Suspicion, ...]]:
        """The members whose candidates look made for the judge models that were shown them, and why."""
        members = {candidate.member for candidate in self.candidates}
        found = {
            member: find_suspicions(answer_text(shown)) for member, shown in self.judged.items() if member in members
        }
        return {member: reasons for member, reasons in found.items() if reasons}

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
            suspicious=self._suspicious(),
            analysis=decision.analysis,
            no_harm=decision.no_harm,
            fit=_fit(self.calls, self.judges),
            saved=saved(self.task.preset, self.rounds, self.judges.asked, self.calls.call_stats, _now()),
            budget=self.budgeted,
        )


def _fit(calls: Calls, judges: JudgeCalls) -> Fit | None:
    """Report what was done so that prompts fit; None when every prompt fitted as it was."""
    cuts = calls.fitting.cuts
    fit = Fit(tuple(cuts[key] for key in sorted(cuts)), tuple(judges.without_images))
    return None if fit == Fit() else fit


def _as_delta(completion: Completion) -> Delta:
    calls = tuple(
        ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(completion.tool_calls)
    )
    return Delta(completion.text, calls, completion.reasoning)


def _now() -> float:
    return asyncio.get_running_loop().time()
