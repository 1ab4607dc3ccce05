"""Calls one request's members: makes, prices, charges and cancels the calls."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import Any

from fusion.ballot import Ballot
from fusion.chat import Call, Completion
from fusion.errors import (
    ContextExceeded,
    EmptyCompletion,
    MalformedReply,
    MemberError,
    MemberUnavailable,
    OverBudget,
    unexpected,
    whereabouts,
)
from fusion.limits.budget import Budget
from fusion.limits.call_stats import CallStats
from fusion.limits.fitting import Fitting
from fusion.member import Emit, Member
from fusion.presets import Pool
from fusion.pricing import cost_usd
from fusion.results import Candidate, Failure, Stage
from fusion.runtime.accounting import Ledger
from fusion.runtime.round_state import Answered, Event, Failed
from fusion.steps import Outcome
from fusion.structured.tool_rules import without_forbidden_calls

LOSERS_WAIT_S = 0.5
"""How long a request waits for cancelled calls to end. Those that end later are reported in the log."""


_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Calls:
    """Calls members, keeps account of time and cost, and leaves no call running."""

    pool: Pool
    call_stats: CallStats
    budget: Budget | None = None
    ledger: Ledger = field(default_factory=Ledger)
    fitting: Fitting = field(init=False)
    losers: set[asyncio.Task[object]] = field(default_factory=set[asyncio.Task[object]])

    def __post_init__(self) -> None:
        self.fitting = Fitting(self.pool)

    async def ask(
        self,
        call: Call,
        emit: Emit | None,
        by: Member | None = None,
        *,
        ballot: Ballot | None = None,
        stage: str = "",
    ) -> Outcome:
        """Make a call to the pool's member of that name, or to the member `by`, and charge it to the budget. The ballot
        that it shows is made to fit. Every failure is returned; only cancellation goes through."""
        if self.budget is not None:
            call = self.budget.bounded(call)
        if ballot is not None and self.fitting.may_overflow(call):
            try:
                call = await self.fitting.fitted(call, ballot, stage)
            except ContextExceeded as error:
                return error.as_failure()
        if self.budget is None:
            return _as_value(await self._ask(call, emit, by))
        bound_usd = self.budget.reserve(call)
        if bound_usd is None:
            return OverBudget("what is left of the budget does not pay for the call").as_failure()
        try:
            outcome = await self._ask(call, emit, by)
        except BaseException:
            self.budget.settle(bound_usd, None, None)
            raise
        self.budget.settle(bound_usd, outcome, self.cost_usd(call.member, outcome))
        return _as_value(outcome)

    async def _ask(self, call: Call, emit: Emit | None, by: Member | None) -> Completion | MemberError:
        """Make the call. A member may end it in any way; only cancellation goes through."""
        try:
            return _checked(await (by or self.pool.members[call.member]).ask(call, emit), call)
        except MemberError as error:
            return error
        except Exception as error:
            _log.error("member %s: %s", call.member, whereabouts(error))
            return unexpected(error, call.member)

    def stop(self, task: asyncio.Task[Any]) -> None:
        """Cancel a call; `await_losers` waits for its end."""
        if not task.done():
            task.cancel()
            self.losers.add(task)
            _STOPPING.add(task)
            task.add_done_callback(_STOPPING.discard)

    async def await_losers(self) -> None:
        """Wait for the cancelled calls to end, at most `LOSERS_WAIT_S` seconds."""
        if self.losers:
            _, pending = await asyncio.wait(self.losers, timeout=LOSERS_WAIT_S)
            if pending:
                _log.warning("%d cancelled calls to members are still running", len(pending))

    def cost_usd(self, member: str, outcome: Completion | MemberError | Failure) -> float | None:
        """The cost of a call at the price of the member that answered it, None when it is not known."""
        answered_by = outcome.answered_by if isinstance(outcome, Completion) else None
        profile = self.pool.profiles.get(answered_by or member)
        return cost_usd(outcome.usage, None if profile is None else profile.price)

    def priced(self, candidate: Candidate) -> Candidate:
        """Return the candidate with its cost."""
        outcome = candidate.completion or candidate.failure
        return replace(candidate, cost_usd=self.cost_usd(candidate.member, outcome)) if outcome else candidate

    def charge(self, candidate: Candidate, stage: Stage) -> None:
        """Enter a priced candidate's call into the ledger and the statistics."""
        if candidate.status == "answered" or candidate.usage:
            self.ledger.charge(stage, candidate.usage, candidate.cost_usd)
        self.learn(candidate.member, stage, candidate.latency_ms / 1e3, candidate.status, candidate.cost_usd)

    def learn(self, member: str, stage: str, took_s: float, status: str, cost_usd: float | None) -> None:
        """Record how long a call took. One that was cancelled counts as taking longer than that."""
        if status != "failed" and took_s > 0:
            now = asyncio.get_running_loop().time()
            self.call_stats.record(member, stage, took_s, answered=status == "answered", at=now, cost_usd=cost_usd)


_STOPPING: set[asyncio.Task[object]] = set()
"""Cancelled calls that have not ended, some of which outlive their request; held so that they are not collected while
they run."""


def event_of(member: str, task: asyncio.Task[Event]) -> Event:
    """The event that a finished call's task stands for."""
    now = asyncio.get_running_loop().time()
    return Failed(member, cancelled_itself(), now) if task.cancelled() else task.result()


def outcome_event(member: str, outcome: Outcome, at: float) -> Event:
    return Failed(member, outcome, at) if isinstance(outcome, Failure) else Answered(member, outcome, at)


def cancelled_itself() -> Failure:
    """The failure of a call that ended as cancelled though the request did not cancel it."""
    return MemberUnavailable("the call was cancelled by the member itself").as_failure()


def _as_value(outcome: Completion | MemberError) -> Outcome:
    return outcome if isinstance(outcome, Completion) else outcome.as_failure()


def _checked(reply: object, call: Call) -> Completion:
    """Check that a reply is a completion with text or tool calls, and drop calls that the request forbids."""
    if not isinstance(reply, Completion):
        raise MalformedReply(f"a {type(reply).__name__} instead of a completion", member=call.member)
    completion = without_forbidden_calls(reply, call.request)
    if not completion.text.strip() and not completion.tool_calls:
        what = "tool calls alone, though tool_choice is none" if reply.tool_calls else "neither text nor tool calls"
        empty = EmptyCompletion(what, member=call.member)
        empty.usage = reply.usage
        raise empty
    return completion
