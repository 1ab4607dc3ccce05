"""The breaker: what opens it, that it lets one probe through, and what says nothing of a backend's health."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.resilience.breaker import Admission, Breaker, BreakerSettings, Breaking, Health
from fusion.chat import Call, Completion
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
from fusion.testing import Answer, Behaviour, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION

CALL = Call("ada", QUESTION, timeout_s=60.0)
SETTINGS = BreakerSettings(failures=3, window_s=30.0, cooldown_s=20.0)
DOWN = Fail(MemberUnavailable("refused"))
GOOD = Answer("four")


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcome(member: Breaking, call: Call = CALL) -> str:
    """What a call comes to: its answer, or its error's code."""
    try:
        return (await member.ask(call)).text
    except MemberError as error:
        return error.code


async def outcomes(member: Breaking, calls: int) -> list[str]:
    return [await outcome(member) for _ in range(calls)]


async def opened(member: Breaking) -> None:
    """Wait until a member that fails is left alone."""
    while member.state == "closed":
        await outcome(member)


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_it_opens_at_the_last_failure_allowed_and_then_fails_at_once() -> None:
    ada = ScriptedMember(DOWN, delay_s=1.0)
    member = Breaking(ada, SETTINGS)
    assert (member.state, member.ready(), member.open_until) == ("closed", True, None)
    assert await outcomes(member, 3) == ["unavailable"] * 3
    assert (member.state, member.ready(), member.open_until) == ("open", False, now() + 20.0)
    began_at = now()
    with pytest.raises(BreakerOpen) as caught:
        await member.ask(CALL)
    assert now() == began_at
    assert caught.value.member == "ada"
    assert caught.value.retry_after_s == 20.0
    assert not caught.value.retryable
    assert len(ada.calls) == 3
    assert member.counters() == {"breaker_state": 2, "breaker_openings_total": 1, "breaker_refusals_total": 1}


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (MemberUnavailable("refused"), True),
        (MemberTimeout("slow"), True),
        (MalformedReply("html"), True),
        (MemberOverloaded("HTTP 503"), True),
        (MemberRejected("too long"), False),
        (MemberUnauthorized("no key"), False),
        (EmptyCompletion("nothing"), False),
        (LimitReached("full"), False),
        (BreakerOpen("open further in"), False),
        (MemberError("no more is known"), False),
        (RuntimeError("outside of the tree"), False),
        (TimeoutError(), False),
        (asyncio.CancelledError(), False),
    ],
    ids=repr,
)
async def test_what_speaks_of_a_backends_health(error: BaseException, opens: bool) -> None:
    member = Breaking(ScriptedMember(Fail(error)), SETTINGS)
    for _ in range(10):
        with pytest.raises((type(error), BreakerOpen)):
            await member.ask(CALL)
    assert (member.state == "open") is opens


async def test_failures_further_apart_than_the_window_do_not_add_up() -> None:
    member = Breaking(ScriptedMember(DOWN), SETTINGS)
    for _ in range(10):
        assert await outcome(member) == "unavailable"
        await asyncio.sleep(15.0)
    assert member.state == "closed"


async def test_a_backend_that_fails_now_and_then_is_kept() -> None:
    flaky: list[Behaviour] = [DOWN if number % 10 == 7 else GOOD for number in range(500)]
    member = Breaking(ScriptedMember(*flaky), SETTINGS)
    assert (await outcomes(member, 500)).count("unavailable") == 50
    assert member.state == "closed"


async def test_quick_failures_in_a_burst_are_weighed_against_the_calls_that_outlive_them() -> None:
    @dataclass
    class Burst:
        calls: int = 0

        async def ask(self, call: Call, emit: object = None) -> Completion:
            self.calls += 1
            if self.calls % 10 == 7:
                raise MemberUnavailable("refused")
            await asyncio.sleep(5.0)
            return Completion("four")

    member = Breaking(Burst(), SETTINGS)
    results = await asyncio.gather(*(outcome(member) for _ in range(100)))
    assert (results.count("four"), results.count("unavailable")) == (90, 10)
    assert member.state == "closed"


async def test_a_backend_that_hangs_is_found_out_by_the_first_timeouts_of_a_burst() -> None:
    member = Breaking(ScriptedMember(Fail(MemberTimeout("slow")), delay_s=30.0), SETTINGS)
    calls: list[asyncio.Task[str]] = []
    for _ in range(50):
        calls.append(asyncio.create_task(outcome(member)))
        await asyncio.sleep(0.1)
    await asyncio.wait(calls[:3])
    assert member.state == "open"
    assert sum(call.done() for call in calls) == 3
    await asyncio.wait(calls)


@pytest.mark.parametrize(
    ("timeout_s", "took_s", "opens"),
    [(60.0, 60.0, True), (60.0, 5.0, True), (10.0, 10.0, True), (9.9, 9.9, False), (9.9, 5.0, True)],
)
async def test_a_client_in_a_hurry_takes_a_slow_backend_from_nobody(
    timeout_s: float, took_s: float, opens: bool
) -> None:
    member = Breaking(ScriptedMember(Fail(MemberTimeout("slow")), delay_s=took_s), SETTINGS)
    calls = [outcome(member, Call("ada", QUESTION, timeout_s=timeout_s)) for _ in range(5)]
    await asyncio.gather(*calls)
    assert (member.state == "open") is opens


# --- half-open --------------------------------------------------------------------------------------------------------


async def test_after_the_cooldown_one_call_finds_out_and_closes_it() -> None:
    ada = ScriptedMember(DOWN, DOWN, DOWN, GOOD, delay_s=1.0)
    member = Breaking(ada, SETTINGS)
    await opened(member)
    await asyncio.sleep(19.9)
    assert (await outcome(member), member.state) == ("breaker_open", "open")
    await asyncio.sleep(0.2)
    assert (member.state, member.ready()) == ("half-open", True)
    results = await asyncio.gather(*(outcome(member) for _ in range(20)))
    assert results == ["four", *["breaker_open"] * 19]
    assert (member.state, member.ready(), member.open_until) == ("closed", True, None)
    assert len(ada.calls) == 4


async def test_a_probe_that_fails_opens_it_for_another_cooldown() -> None:
    member = Breaking(ScriptedMember(DOWN), SETTINGS)
    await opened(member)
    for openings in range(2, 5):
        await asyncio.sleep(20.0)
        assert await outcomes(member, 2) == ["unavailable", "breaker_open"]
        assert member.open_until == now() + 20.0
        assert member.counters()["breaker_openings_total"] == openings


@pytest.mark.parametrize("error", [MemberRejected("too long"), MemberUnauthorized("no key")], ids=repr)
async def test_a_probe_that_is_refused_for_itself_closes_it(error: MemberError) -> None:
    member = Breaking(ScriptedMember(DOWN, DOWN, DOWN, Fail(error)), SETTINGS)
    await opened(member)
    await asyncio.sleep(20.0)
    assert (await outcome(member), member.state) == (error.code, "closed")


async def test_a_probe_that_says_nothing_leaves_it_to_the_next_call() -> None:
    ada = ScriptedMember(DOWN, DOWN, DOWN, Hang(), Fail(RuntimeError("outside of the tree")), GOOD)
    member = Breaking(ada, SETTINGS)
    await opened(member)
    await asyncio.sleep(20.0)
    probe = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(1.0)
    assert (member.state, member.ready()) == ("half-open", False)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert (member.state, member.ready()) == ("half-open", True)
    with pytest.raises(RuntimeError):
        await member.ask(CALL)
    assert await outcome(member) == "four"
    assert member.state == "closed"


async def test_calls_from_before_it_opened_change_nothing_when_they_end() -> None:
    ada = ScriptedMember(GOOD, DOWN, DOWN, DOWN)
    ada.gate = asyncio.Event()
    member = Breaking(ada, SETTINGS)
    late = asyncio.create_task(outcome(member))
    await asyncio.sleep(0)
    gate, ada.gate = ada.gate, None
    await opened(member)
    await asyncio.sleep(5.0)
    gate.set()
    assert (await late, member.state) == ("four", "open")
    assert member.open_until == now() + 15.0


async def test_calls_from_before_it_opened_do_not_count_after_it_closed_either() -> None:
    gate = asyncio.Event()
    ada = ScriptedMember(DOWN, gate=gate)
    member = Breaking(ada, SETTINGS)
    late = [asyncio.create_task(outcome(member)) for _ in range(5)]
    await asyncio.sleep(0)
    ada.gate = None
    late += [asyncio.create_task(outcome(member)) for _ in range(20)]
    await asyncio.wait(late[5:])
    assert member.state == "open"
    await asyncio.sleep(20.0)
    ada.behaviours = (GOOD,)
    assert (await outcome(member), member.state) == ("four", "closed")
    gate.set()
    await asyncio.wait(late)
    assert member.state == "closed"


# --- whatever happens -------------------------------------------------------------------------------------------------


class AnyCourse(RuleBasedStateMachine):
    """Any course of calls, outcomes and time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(SETTINGS)
        self.now = 0.0
        self.out: list[Admission] = []
        self.probe: Admission | None = None
        self.failed_at: list[float] = []

    @rule(by_s=st.floats(0.0, 40.0))
    def time_passes(self, by_s: float) -> None:
        self.now += by_s

    @rule()
    def a_call_comes(self) -> None:
        state = self.breaker.state(self.now)
        ready = self.breaker.ready(self.now)
        admission = self.breaker.admit(self.now)
        assert (admission is not None) == ready
        if state == "closed":
            assert admission is not None
        elif state == "open":
            assert admission is None
        else:
            assert (admission is None) == (self.probe is not None)
            self.probe = self.probe or admission
        if admission is not None:
            self.out.append(admission)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), health=st.sampled_from(["healthy", "failing", "failing", "unknown"]))
    def a_call_ends(self, data: st.DataObject, health: Health) -> None:
        admission = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.breaker.state(self.now)
        self.breaker.ended(admission, health, self.now)
        after = self.breaker.state(self.now)
        if health == "failing":
            self.failed_at.append(self.now)
        if admission is self.probe:
            self.probe = None
            assert after == {"healthy": "closed", "failing": "open", "unknown": "half-open"}[health]
        elif before != "closed":
            assert after == before
        elif after == "open":
            recent = [at for at in self.failed_at if at > self.now - SETTINGS.window_s]
            assert health == "failing"
            assert len(recent) >= SETTINGS.failures

    @invariant()
    def it_never_stays_open(self) -> None:
        """Whatever happened, after a cool-down a call is let through unless a probe is out."""
        assert self.probe is not None or self.breaker.ready(self.now + SETTINGS.cooldown_s)


TestAnyCourse = AnyCourse.TestCase


@given(st.data())
async def test_never_more_than_one_probe_and_nothing_left_behind_by_cancellation(data: st.DataObject) -> None:
    behaviours = st.sampled_from([GOOD, DOWN, DOWN, Hang(), Fail(MemberTimeout("slow"))])
    ada = ScriptedMember(*data.draw(st.lists(behaviours, min_size=1, max_size=30)), delay_s=0.5)
    member = Breaking(ada, SETTINGS)
    tasks: list[asyncio.Task[Completion]] = []
    most_while_half_open = 0
    for pause_s, cancelled_after_s in data.draw(
        st.lists(st.tuples(st.floats(0.0, 12.0), st.none() | st.floats(0.0, 3.0)), max_size=30)
    ):
        await asyncio.sleep(pause_s)
        asked = len(ada.calls)
        half_open = member.state == "half-open"
        burst = [asyncio.create_task(member.ask(CALL)) for _ in range(3)]
        await asyncio.sleep(0)
        if half_open:
            most_while_half_open = max(most_while_half_open, len(ada.calls) - asked)
        if cancelled_after_s is not None:
            for task in burst:
                asyncio.get_running_loop().call_later(cancelled_after_s, task.cancel)
        tasks += burst
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most_while_half_open <= 1
    assert ada.running == 0
    await asyncio.sleep(SETTINGS.cooldown_s)
    assert member.ready()
