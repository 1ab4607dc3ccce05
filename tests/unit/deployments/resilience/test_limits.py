"""The limits: never more than allowed in any window, in order, and no hole where a waiter went away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.resilience.limits import Limiter, Limiting, LimitSettings
from fusion.chat import Call, Completion, Usage
from fusion.errors import LimitReached, MemberUnavailable
from fusion.member import Emit
from fusion.testing import Answer, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION
from tests.support.virtual_clock import VirtualClockLoop

CALL = Call("ada", QUESTION, timeout_s=60.0)


def now() -> float:
    return asyncio.get_running_loop().time()


def limited(member: ScriptedMember | Busy, **limits: int) -> Limiting:
    return Limiting(member, Limiter(LimitSettings(**limits)))


def within(timeout_s: float) -> Call:
    return Call("ada", QUESTION, timeout_s=timeout_s)


@dataclass
class Busy:
    """A member whose calls take as long as their names say, and use as many tokens; it knows when each began."""

    begun: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    running: int = 0
    most_running: int = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        takes_s, _, tokens = call.member.partition(":")
        self.begun.append((call.member, now()))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(float(takes_s))
            return Completion("four", usage=Usage(int(tokens), 0) if tokens else None)
        finally:
            self.running -= 1


def assert_idle(member: Limiting) -> None:
    numbers = member.counters()
    assert (numbers["limit_running"], numbers["limit_queued"]) == (0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def most_in_a_minute(times: Sequence[float]) -> int:
    return max((sum(begin <= at < begin + 60.0 for at in times) for begin in times), default=0)


# --- each limit -------------------------------------------------------------------------------------------------------


async def test_without_limits_everything_passes() -> None:
    busy = Busy()
    member = limited(busy)
    await asyncio.gather(*(member.ask(Call("1", QUESTION, 60.0)) for _ in range(100)))
    assert busy.most_running == 100
    assert member.counters()["limit_waits_total"] == 0


async def test_no_more_run_at_once_than_allowed_and_the_others_follow_in_order() -> None:
    busy = Busy()
    member = limited(busy, concurrency=3)
    names = [f"{1 + number / 100}" for number in range(10)]
    await asyncio.gather(*(member.ask(Call(name, QUESTION, 60.0)) for name in names))
    assert busy.most_running == 3
    assert [name for name, _ in busy.begun] == names
    assert member.counters()["limit_waits_total"] == 7
    assert_idle(member)


async def test_no_more_begin_in_a_minute_than_allowed() -> None:
    busy = Busy()
    member = limited(busy, requests_per_minute=5)
    began_at = now()
    await asyncio.gather(*(member.ask(Call("1", QUESTION, 300.0)) for _ in range(12)))
    assert [at - began_at for _, at in busy.begun] == [0.0] * 5 + [60.0] * 5 + [120.0] * 2


async def test_tokens_used_close_it_until_a_minute_after_they_were_used() -> None:
    busy = Busy()
    member = limited(busy, tokens_per_minute=100)
    began_at = now()
    for tokens in (60, 39, 50, 10):
        await member.ask(Call(f"1:{tokens}", QUESTION, 300.0))
    # 99 leave room for one more; the 149 are too many until the first 60 are a minute old.
    assert [at - began_at for _, at in busy.begun] == pytest.approx([0.0, 1.0, 2.0, 61.0])


async def test_what_used_an_unknown_number_of_tokens_counts_for_none() -> None:
    ada = ScriptedMember(Answer("four", usage=None), Fail(MemberUnavailable("refused")))
    member = limited(ada, tokens_per_minute=1)
    began_at = now()
    await member.ask(CALL)
    for _ in range(5):
        with pytest.raises(MemberUnavailable):
            await member.ask(CALL)
    assert now() == began_at


async def test_what_was_waited_is_taken_from_the_calls_time() -> None:
    ada = ScriptedMember(delay_s=4.0)
    member = limited(ada, concurrency=1)
    await asyncio.gather(member.ask(CALL), member.ask(CALL))
    assert [call.timeout_s for call in ada.calls] == [60.0, 56.0]
    assert member.counters()["limit_wait_seconds_total"] == 4.0


# --- waiting no longer than the call may take -------------------------------------------------------------------------


async def test_a_turn_that_does_not_come_in_time_is_refused_then() -> None:
    member = limited(ScriptedMember(Hang()), concurrency=1)
    first = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(0)
    began_at = now()
    with pytest.raises(LimitReached, match=r"no slot within 7\.0 s") as caught:
        await member.ask(within(7.0))
    assert now() - began_at == 7.0
    assert (caught.value.member, caught.value.retry_after_s) == ("ada", 1.0)
    assert not caught.value.retryable
    assert member.counters()["limit_refusals_total"] == 1
    first.cancel()
    await asyncio.wait([first])
    assert_idle(member)


async def test_a_turn_that_cannot_come_in_time_is_refused_at_once() -> None:
    member = limited(ScriptedMember(), requests_per_minute=2)
    await member.ask(CALL)
    await asyncio.sleep(10.0)
    await member.ask(CALL)
    began_at = now()
    with pytest.raises(LimitReached) as caught:
        await member.ask(within(49.0))
    assert now() == began_at
    assert caught.value.retry_after_s == pytest.approx(50.0)
    await member.ask(within(51.0))
    assert now() == began_at + 50.0


async def test_those_who_wait_already_are_reckoned_with() -> None:
    member = limited(ScriptedMember(), requests_per_minute=2)
    waiting = [asyncio.create_task(member.ask(within(1000.0))) for _ in range(7)]
    await asyncio.sleep(0)
    with pytest.raises(LimitReached) as caught:
        await member.ask(within(179.0))
    assert caught.value.retry_after_s == pytest.approx(180.0)
    began_at = now()
    await member.ask(within(181.0))
    assert now() - began_at == pytest.approx(180.0)
    await asyncio.gather(*waiting)
    assert_idle(member)


async def test_tokens_say_when_too() -> None:
    member = limited(ScriptedMember(Answer("four", usage=Usage(80, 40))), tokens_per_minute=100)
    await member.ask(CALL)
    await asyncio.sleep(20.0)
    with pytest.raises(LimitReached) as caught:
        await member.ask(within(30.0))
    assert caught.value.retry_after_s == pytest.approx(40.0)


async def test_the_queue_has_an_end() -> None:
    member = limited(ScriptedMember(Hang()), concurrency=1, max_queued=2)
    calls = [asyncio.create_task(member.ask(CALL)) for _ in range(3)]
    await asyncio.sleep(0)
    began_at = now()
    with pytest.raises(LimitReached, match="2 calls are queued already") as caught:
        await member.ask(CALL)
    assert now() == began_at
    assert caught.value.retry_after_s == 1.0
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert_idle(member)


async def test_a_call_without_time_does_not_wait() -> None:
    ada = ScriptedMember(Hang())
    member = limited(ada, concurrency=1)
    first = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(0)
    with pytest.raises(LimitReached):
        await member.ask(within(0.0))
    first.cancel()
    await asyncio.wait([first])
    assert len(ada.calls) == 1


async def test_tokens_used_at_several_times_say_when_enough_of_them_is_over() -> None:
    limiter = Limiter(LimitSettings(tokens_per_minute=50))
    for tokens in (20, 45):
        await limiter.enter(CALL.timeout_s)
        await asyncio.sleep(10.0)
        limiter.leave(Usage(tokens, 0))
    with pytest.raises(LimitReached) as caught:
        await limiter.enter(1.0)
    assert caught.value.retry_after_s == pytest.approx(50.0)
    await asyncio.sleep(1.0)
    limiter.leave(Usage(10, 0))
    with pytest.raises(LimitReached) as caught:
        await limiter.enter(1.0)
    assert caught.value.retry_after_s == pytest.approx(59.0)


# --- going away -------------------------------------------------------------------------------------------------------


async def test_a_waiter_that_goes_away_leaves_no_hole() -> None:
    ada = ScriptedMember(delay_s=10.0)
    member = limited(ada, concurrency=1)
    tasks = [asyncio.create_task(member.ask(CALL)) for _ in range(3)]
    await asyncio.sleep(1.0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    assert member.counters()["limit_queued"] == 1
    late = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait([late])
    assert member.counters()["limit_queued"] == 1
    began_at = now()
    await tasks[2]
    assert now() - began_at == 19.0
    assert tasks[1].cancelled()
    assert_idle(member)


async def test_a_turn_that_came_in_the_moment_of_cancellation_goes_to_the_next() -> None:
    limiter = Limiter(LimitSettings(concurrency=1, requests_per_minute=2))
    await limiter.enter(CALL.timeout_s)
    second, third = (asyncio.create_task(limiter.enter(100.0)) for _ in range(2))
    await asyncio.sleep(0)
    limiter.leave(None)
    second.cancel()
    began_at = now()
    await third
    assert now() == began_at
    assert second.cancelled()
    assert (limiter.running, limiter.queued) == (1, 0)


async def test_a_turn_that_came_in_the_moment_of_the_timeout_goes_to_the_next() -> None:
    limiter = Limiter(LimitSettings(concurrency=1, requests_per_minute=2))
    await limiter.enter(CALL.timeout_s)
    asyncio.get_running_loop().call_later(5.0, limiter.leave, None)
    second, third = (asyncio.create_task(limiter.enter(timeout_s)) for timeout_s in (5.0, 100.0))
    with pytest.raises(LimitReached):
        await second
    await third
    assert (limiter.running, limiter.queued) == (1, 0)


async def test_a_call_that_is_cancelled_under_way_has_been_made() -> None:
    ada = ScriptedMember(Hang(), Answer("four"))
    member = limited(ada, requests_per_minute=1)
    first = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(10.0)
    first.cancel()
    began_at = now()
    await member.ask(CALL)
    assert now() - began_at == pytest.approx(50.0)


async def test_cancelled_in_the_moment_of_its_timeout_it_is_cancelled() -> None:
    member = limited(ScriptedMember(Hang()), concurrency=1)
    first = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(0)
    second = asyncio.create_task(member.ask(within(5.0)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(5.0, second.cancel)
    await asyncio.wait([second])
    assert second.cancelled()
    first.cancel()
    await asyncio.wait([first])
    assert_idle(member)


async def test_nobody_slips_in_before_those_whose_time_came_while_the_loop_was_held_up() -> None:
    limiter = Limiter(LimitSettings(concurrency=1, requests_per_minute=2))
    for _ in range(2):
        await limiter.enter(CALL.timeout_s)
        limiter.leave(None)
    order: list[str] = []

    async def enter(name: str) -> None:
        await limiter.enter(100.0)
        order.append(name)

    waiting = asyncio.create_task(enter("the one who waited"))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    loop.stall(70.0)
    loop.call_later(1.0, limiter.leave, None)
    await enter("the newcomer")
    await waiting
    assert order == ["the one who waited", "the newcomer"]


async def test_members_of_one_backend_share_its_limits() -> None:
    limiter = Limiter(LimitSettings(concurrency=2))
    busy = Busy()
    ada, bob = Limiting(busy, limiter), Limiting(busy, limiter)
    await asyncio.gather(*(member.ask(Call("1", QUESTION, 60.0)) for member in (ada, bob) for _ in range(5)))
    assert busy.most_running == 2


# --- whatever happens -------------------------------------------------------------------------------------------------

calls = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.5, 5.0, 30.0, 59.0, 60.0]) | st.floats(0.0, 20.0),  # pause before it
        st.sampled_from([0.0, 1.0, 5.0, 30.0]),  # how long it takes
        st.integers(0, 60),  # tokens
        st.sampled_from([1.0, 10.0, 60.0, 200.0]),  # timeout
        st.none() | st.floats(0.0, 70.0),  # cancelled after
    ),
    max_size=40,
)


@given(calls, st.none() | st.integers(1, 4), st.none() | st.integers(1, 6), st.none() | st.integers(1, 100))
async def test_no_limit_is_ever_exceeded_and_nothing_is_lost(
    plan: list[tuple[float, float, int, float, float | None]],
    concurrency: int | None,
    per_minute: int | None,
    tokens: int | None,
) -> None:
    busy = Busy()
    limiter = Limiter(LimitSettings(concurrency, per_minute, tokens, max_queued=8))
    member = Limiting(busy, limiter)

    async def one(takes_s: float, used: int, timeout_s: float) -> str:
        asked_at = now()
        try:
            await member.ask(Call(f"{takes_s}:{used}", QUESTION, timeout_s))
        except LimitReached as error:
            assert now() - asked_at <= timeout_s + 1e-6
            assert error.retry_after_s is not None
            assert error.retry_after_s >= 1.0
            return "refused"
        return "answered"

    tasks: list[asyncio.Task[str]] = []
    for pause_s, takes_s, used, timeout_s, cancelled_after_s in plan:
        await asyncio.sleep(pause_s)
        tasks.append(task := asyncio.create_task(one(takes_s, used, timeout_s)))
        if cancelled_after_s is not None:
            asyncio.get_running_loop().call_later(cancelled_after_s, task.cancel)
        await asyncio.sleep(0)
        assert limiter.queued <= 8
    if tasks:
        await asyncio.wait(tasks)
    assert busy.most_running <= (concurrency or 1000)
    assert most_in_a_minute([at for _, at in busy.begun]) <= (per_minute or 1000)
    assert busy.running == 0
    assert_idle(member)
    await asyncio.sleep(60.0)
    began_at = now()
    await member.ask(Call("0:0", QUESTION, 1.0))
    assert now() == began_at


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 5))
async def test_turns_come_in_the_order_of_asking(pauses_s: list[float], concurrency: int, per_minute: int) -> None:
    busy = Busy()
    member = limited(busy, concurrency=concurrency, requests_per_minute=per_minute)
    tasks: list[asyncio.Task[Completion]] = []
    for number, pause_s in enumerate(pauses_s):
        await asyncio.sleep(pause_s)
        tasks.append(asyncio.create_task(member.ask(Call(f"{1 + number / 1000}", QUESTION, 1e6))))
    await asyncio.gather(*tasks)
    assert [name for name, _ in busy.begun] == [f"{1 + number / 1000}" for number in range(len(pauses_s))]
    assert most_in_a_minute([at for _, at in busy.begun]) <= per_minute


async def test_the_tokens_of_a_failed_call_count() -> None:
    error = MemberUnavailable("cut off")
    error.usage = Usage(90, 10)
    member = limited(ScriptedMember(Fail(error), Answer("4", usage=Usage(1, 1))), tokens_per_minute=100)
    with pytest.raises(MemberUnavailable):
        await member.ask(CALL)
    with pytest.raises(LimitReached):
        await member.ask(within(30.0))
