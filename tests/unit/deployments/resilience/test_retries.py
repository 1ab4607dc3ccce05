"""Repeating what may pass: when, how long after, how often at most, and what never."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.resilience.retries import Retrying, RetrySettings
from deployments.resilience.retry_budget import MAX_SAVED, RetryBudget
from fusion.chat import Call, Completion, Delta, Usage
from fusion.errors import (
    BreakerOpen,
    EmptyCompletion,
    LimitReached,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)
from fusion.member import Emit
from fusion.testing import Answer, Behaviour, CutOff, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION
from tests.support.virtual_clock import VirtualClockLoop

CALL = Call("ada", QUESTION, timeout_s=60.0)
DOWN = Fail(MemberUnavailable("refused"))
AMPLE = RetrySettings(budget_reserve=1000)


class Widest(random.Random):
    """Draws the longest wait there is."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Shortest(random.Random):
    """Draws the shortest wait there is."""

    def uniform(self, a: float, b: float) -> float:
        return a


def retrying(member: ScriptedMember, settings: RetrySettings = AMPLE, rng: random.Random | None = None) -> Retrying:
    return Retrying(member, settings, rng=rng or Widest())


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    "error",
    [MemberUnavailable("refused"), MemberTimeout("slow"), MalformedReply("html"), EmptyCompletion("nothing")],
    ids=lambda error: error.code,
)
async def test_an_error_that_may_pass_is_tried_again(error: MemberError) -> None:
    ada = ScriptedMember(Fail(error), Answer("four"))
    member = retrying(ada)
    assert (await member.ask(CALL)).text == "four"
    assert len(ada.calls) == 2
    assert member.counters()["retries_total"] == 1


@pytest.mark.parametrize(
    "error",
    [
        MemberRejected("too long"),
        MemberUnauthorized("no key"),
        BreakerOpen("open"),
        LimitReached("full", retry_after_s=1.0),
        MemberOverloaded("HTTP 503"),
        RuntimeError("outside of the tree"),
        TimeoutError(),
    ],
    ids=repr,
)
async def test_an_error_that_will_not_pass_is_not(error: Exception) -> None:
    ada = ScriptedMember(Fail(error))
    began_at = now()
    with pytest.raises(type(error)):
        await retrying(ada).ask(CALL)
    assert len(ada.calls) == 1
    assert now() == began_at


async def test_waits_double_up_to_the_cap_and_the_last_error_is_raised() -> None:
    ada = ScriptedMember(*(Fail(MemberUnavailable(f"refused {number}")) for number in range(1, 7)))
    began_at = now()
    with pytest.raises(MemberUnavailable, match="refused 6"):
        await retrying(ada, RetrySettings(attempts=6, max_backoff_s=3.0, budget_reserve=9)).ask(CALL)
    left_s = [call.timeout_s for call in ada.calls]
    assert left_s == pytest.approx([60.0, 59.5, 58.5, 56.5, 53.5, 50.5])
    assert now() - began_at == pytest.approx(9.5)


@given(st.integers(0, 2**32), st.integers(1, 8), st.floats(0.0, 30.0))
async def test_every_wait_is_drawn_from_zero_to_its_cap(seed: int, attempts: int, max_backoff_s: float) -> None:
    ada = ScriptedMember(DOWN)
    settings = RetrySettings(attempts=attempts, max_backoff_s=max_backoff_s, budget_reserve=9)
    with pytest.raises(MemberUnavailable):
        await retrying(ada, settings, random.Random(seed)).ask(Call("ada", QUESTION, timeout_s=1e4))
    left_s = [call.timeout_s for call in ada.calls]
    assert len(left_s) == attempts
    for number, (before, after) in enumerate(pairwise(left_s)):
        assert -1e-6 <= before - after <= min(max_backoff_s, 0.5 * 2**number) + 1e-6


async def test_it_gives_up_at_once_when_the_wait_would_not_end_in_time() -> None:
    ada = ScriptedMember(DOWN)
    began_at = now()
    with pytest.raises(MemberUnavailable):
        await retrying(ada).ask(Call("ada", QUESTION, timeout_s=0.4))
    assert len(ada.calls) == 1
    assert now() == began_at


async def test_a_timeout_that_used_up_the_call_is_not_tried_again() -> None:
    ada = ScriptedMember(Fail(MemberTimeout("slow")), delay_s=60.0)
    with pytest.raises(MemberTimeout):
        await retrying(ada, rng=Shortest()).ask(CALL)
    assert len(ada.calls) == 1


async def test_no_attempt_begins_when_the_loop_was_held_up_past_the_end() -> None:
    ada = ScriptedMember(DOWN)
    member = retrying(ada)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    loop.call_later(0.1, loop.stall, 100.0)
    with pytest.raises(MemberUnavailable):
        await member.ask(CALL)
    assert len(ada.calls) == 1
    assert member.counters()["retry_budget_left"] == 1000


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_nothing_is_repeated_once_a_piece_of_the_answer_was_handed_on() -> None:
    ada = ScriptedMember(CutOff(["fo"]), Answer("four"))
    heard: list[Delta] = []
    with pytest.raises(MalformedReply):
        await retrying(ada).ask(CALL, heard.append)
    assert heard == [Delta("fo")]
    assert len(ada.calls) == 1


async def test_a_stream_that_broke_before_its_first_piece_is_repeated() -> None:
    ada = ScriptedMember(CutOff([]), CutOff([""]), Answer("two and two"))
    heard: list[Delta] = []
    completion = await retrying(ada).ask(CALL, heard.append)
    assert "".join(delta.text for delta in heard) == completion.text == "two and two"


async def test_what_an_earlier_attempt_writes_after_its_end_is_dropped() -> None:
    emits: list[Emit] = []

    class KeepsWriting:
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            assert emit is not None
            for earlier in emits:
                earlier(Delta("from the grave"))
            emits.append(emit)
            if len(emits) < 3:
                raise MemberUnavailable("refused")
            emit(Delta("four"))
            return Completion("four")

    heard: list[Delta] = []
    await Retrying(KeepsWriting(), AMPLE, rng=Widest()).ask(CALL, heard.append)
    emits[-1](Delta("after the end"))
    assert heard == [Delta("four")]


# --- overload ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rng", [Shortest(), Widest()], ids=["shortest", "widest"])
async def test_an_overload_that_says_when_is_repeated_once_and_not_before(rng: random.Random) -> None:
    ada = ScriptedMember(Fail(MemberOverloaded("HTTP 429", retry_after_s=7.0)))
    began_at = now()
    with pytest.raises(MemberOverloaded):
        await retrying(ada, RetrySettings(attempts=9, budget_reserve=9), rng).ask(CALL)
    assert len(ada.calls) == 2
    assert 7.0 <= now() - began_at <= 7.5


@pytest.mark.parametrize("retry_after_s", [60.0, 61.0, 1e9, float("inf"), float("nan")])
async def test_an_overload_that_outlasts_the_call_ends_it_at_once(retry_after_s: float) -> None:
    ada = ScriptedMember(Fail(MemberOverloaded("HTTP 429", retry_after_s=retry_after_s)))
    began_at = now()
    with pytest.raises(MemberOverloaded) as caught:
        await retrying(ada).ask(CALL)
    assert caught.value.retry_after_s is not None
    assert len(ada.calls) == 1
    assert now() == began_at


@given(st.floats(-5.0, 100.0), st.floats(0.1, 50.0), st.integers(0, 2**32))
async def test_a_repetition_after_an_overload_lies_between_its_time_and_the_calls_end(
    retry_after_s: float, timeout_s: float, seed: int
) -> None:
    ada = ScriptedMember(Fail(MemberOverloaded("HTTP 429", retry_after_s=retry_after_s)))
    with pytest.raises(MemberOverloaded):
        await retrying(ada, rng=random.Random(seed)).ask(Call("ada", QUESTION, timeout_s=timeout_s))
    first_s, *later_s = (call.timeout_s for call in ada.calls)
    assert first_s == timeout_s
    assert len(later_s) <= 1
    for left_s in later_s:
        assert 0 < left_s <= timeout_s - max(0.0, retry_after_s) + 1e-6


# --- the budget -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["earn", "take", "take and give back"]), max_size=300),
    st.integers(0, 100),
    st.integers(0, 5),
)
def test_extra_calls_never_exceed_their_share(steps: list[str], percent: int, reserve: int) -> None:
    budget = RetryBudget(percent=percent, reserve=reserve)
    calls = extra = 0
    for step in steps:
        if step == "earn":
            budget.deposit()
            calls += 1
        elif budget.try_spend():
            if step == "take":
                extra += 1
            else:
                budget.refund()
        assert 100 * extra <= 100 * reserve + percent * calls
        assert 0 <= budget.left <= max(MAX_SAVED, reserve)


def test_a_quiet_time_saves_up_only_so_many() -> None:
    budget = RetryBudget(percent=10, reserve=0)
    for _ in range(1000):
        budget.deposit()
    assert sum(budget.try_spend() for _ in range(1000)) == MAX_SAVED


async def test_a_dead_backend_costs_a_tenth_more_calls_and_not_twice_as_many() -> None:
    ada = ScriptedMember(DOWN)
    member = retrying(ada, RetrySettings(budget_reserve=3))
    for _ in range(200):
        with pytest.raises(MemberUnavailable):
            await member.ask(CALL)
    assert len(ada.calls) == 223
    assert member.counters()["retries_total"] == 23
    assert member.counters()["retries_over_budget_total"] > 0


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans(), st.floats(0.0, 9.0)), min_size=1, max_size=40))
async def test_calls_cancelled_at_any_time_leave_nothing_running_and_no_token_lost(
    calls: list[tuple[float, bool, float]],
) -> None:
    behaviours: list[Behaviour] = [DOWN, Hang(), Answer("four"), DOWN, DOWN]
    ada = ScriptedMember(*(behaviours * 40), delay_s=0.25)
    member = retrying(ada, RetrySettings(budget_percent=10, budget_reserve=3), random.Random(1))
    tasks: list[asyncio.Task[Completion]] = []
    for pause_s, cancelled, after_s in calls:
        await asyncio.sleep(pause_s)
        tasks.append(task := asyncio.create_task(member.ask(CALL)))
        if cancelled:
            asyncio.get_running_loop().call_later(after_s, task.cancel)
    await asyncio.wait(tasks, timeout=200.0)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, Completion | MemberError | asyncio.CancelledError) for outcome in outcomes)
    assert ada.running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    extra = len(ada.calls) - len(calls)
    numbers = member.counters()
    assert extra <= 3 + len(calls) / 10
    # What was paid for and not made was given back: nothing is missing but the calls that were made.
    assert numbers["retry_budget_left"] == int(3 + len(calls) / 10 - numbers["retries_total"] + 1e-9)


async def test_a_call_cancelled_while_it_waits_is_cancelled() -> None:
    ada = ScriptedMember(DOWN)
    member = retrying(ada)
    task = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert member.counters()["retry_budget_left"] == 1000
    assert member.counters()["retries_total"] == 0


async def test_the_usage_is_that_of_all_attempts() -> None:
    broken = MalformedReply("cut off")
    broken.usage = Usage(10, 2)
    member = ScriptedMember(DOWN, Fail(broken), Answer("4", usage=Usage(10, 5)))
    assert (await retrying(member).ask(CALL)).usage == Usage(20, 7)


async def test_the_usage_is_unknown_when_the_answers_is() -> None:
    broken = MalformedReply("cut off")
    broken.usage = Usage(10, 2)
    assert (await retrying(ScriptedMember(Fail(broken), Answer("4", usage=None))).ask(CALL)).usage is None


async def test_a_failure_tells_the_usage_of_all_attempts() -> None:
    errors = [MalformedReply("cut off"), EmptyCompletion("nothing said"), MemberUnavailable("refused")]
    errors[0].usage, errors[1].usage = Usage(10, 2), Usage(10, 1)
    with pytest.raises(MemberUnavailable) as caught:
        await retrying(ScriptedMember(*map(Fail, errors))).ask(CALL)
    assert caught.value.usage == Usage(20, 3)
