"""The wrappers together: each of them is a member, their order is one, and a member in all of them keeps its promises
whatever its backend does. Time limits are tested here as well."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.resilience.breaker import BreakerSettings, Breaking
from deployments.resilience.compose import Counted, ResilienceSettings, Resilient, resilient
from deployments.resilience.fallbacks import FallingBack, StandingIn
from deployments.resilience.hedging import LOSER_WAIT_S, HedgeSettings, Hedging
from deployments.resilience.limits import Limiter, Limiting, LimitSettings
from deployments.resilience.retries import Retrying, RetrySettings
from deployments.resilience.time_limits import TimeLimiting, TimeLimits
from fusion.chat import Call, Completion, Delta, ToolCall, ToolCallDelta, Usage
from fusion.errors import (
    BreakerOpen,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)
from fusion.member import Emit, Member
from fusion.testing import Answer, Behaviour, CutOff, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION, favouring, fused

CALL = Call("ada", QUESTION, timeout_s=60.0)
DOWN = Fail(MemberUnavailable("refused"))
ANSWER = Answer(
    "two and two is four",
    tool_calls=(ToolCall("call_1", "add", '{"a": 2}'),),
    usage=Usage(12, 7),
    finish_reason="tool_calls",
)
LIMITS = LimitSettings(concurrency=4, requests_per_minute=600, tokens_per_minute=100_000)
HEDGES = HedgeSettings(min_samples=5, budget_percent=5)


def everything(member: Member) -> Resilient:
    """The member in all wrappers, with another like it as its second and one that is down as its stand-in."""
    return resilient(
        member,
        ResilienceSettings(timeouts=TimeLimits(30.0, 20.0, 120.0), hedging=HEDGES),
        rng=random.Random(7),
        limiter=Limiter(LIMITS),
        second=member,
        stand_ins=[StandingIn(ScriptedMember(Fail(MemberRejected("not I"))), "bob")],
    )


WRAPPERS: dict[str, Callable[[Member], Member]] = {
    "bare": lambda member: member,
    "TimeLimiting": lambda member: TimeLimiting(member, TimeLimits(30.0, 20.0, 120.0)),
    "Limiting": lambda member: Limiting(member, Limiter(LIMITS)),
    "Breaking": lambda member: Breaking(member, BreakerSettings()),
    "Retrying": lambda member: Retrying(member, RetrySettings(attempts=1), rng=random.Random(7)),
    "Hedging": lambda member: Hedging(member, ScriptedMember(Hang()), HedgeSettings()),
    "FallingBack": lambda member: FallingBack(member, [StandingIn(ScriptedMember(DOWN), "bob")]),
    "StandingIn": lambda member: StandingIn(member, "ada"),
    "all of them": everything,
}
wrapped = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())


def now() -> float:
    return asyncio.get_running_loop().time()


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


# --- each wrapper is a member -----------------------------------------------------------------------------------------


@wrapped
async def test_the_answer_comes_through_whole(wrap: Callable[[Member], Member]) -> None:
    ada = ScriptedMember(ANSWER)
    completion = await wrap(ada).ask(CALL)
    assert (completion.text, completion.tool_calls) == (ANSWER.text, ANSWER.tool_calls)
    assert (completion.finish_reason, completion.usage) == (ANSWER.finish_reason, ANSWER.usage)
    assert ada.calls == [CALL]


@wrapped
async def test_the_deltas_add_up_to_the_answer(wrap: Callable[[Member], Member]) -> None:
    heard: list[Delta] = []
    completion = await wrap(ScriptedMember(ANSWER)).ask(CALL, heard.append)
    assert "".join(delta.text for delta in heard) == completion.text == ANSWER.text
    assert [call for delta in heard for call in delta.tool_calls] == [ToolCallDelta(0, "call_1", "add", '{"a": 2}')]
    assert len(heard) > 2


@wrapped
async def test_where_nobody_watches_nothing_is_streamed(wrap: Callable[[Member], Member]) -> None:
    watched: list[bool] = []

    class Notes:
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            watched.append(emit is not None)
            return Completion("four")

    await wrap(Notes()).ask(CALL)
    await wrap(Notes()).ask(CALL, lambda _: None)
    assert watched == [False, True]


@wrapped
@pytest.mark.parametrize(
    "error",
    [
        MemberUnavailable("refused"),
        MemberTimeout("slow"),
        MemberOverloaded("HTTP 429", retry_after_s=7.0),
        MemberUnauthorized("no key"),
        MemberRejected("too long"),
        MalformedReply("html"),
        RuntimeError("outside of the tree"),
        TimeoutError(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
async def test_errors_come_through_as_they_are(wrap: Callable[[Member], Member], error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await wrap(ScriptedMember(Fail(error))).ask(CALL)
    if isinstance(error, MemberError):
        assert caught.value is error
    assert not others()


@wrapped
@given(after_s=st.floats(0.0, 6.0), watched=st.booleans())
@settings(max_examples=30)
async def test_cancelled_at_any_time_it_is_cancelled_and_nothing_runs_on(
    wrap: Callable[[Member], Member], after_s: float, watched: bool
) -> None:
    ada = ScriptedMember(Answer("one two three", piece_delay_s=1.0), delay_s=3.5)
    heard: list[Delta] = []
    task = asyncio.create_task(wrap(ada).ask(CALL, heard.append if watched else None))
    handle = asyncio.get_running_loop().call_later(after_s, task.cancel)
    await asyncio.wait([task])
    handle.cancel()
    assert task.cancelled() or task.result().text == "one two three"
    pieces = len(heard)
    assert ada.running == 0
    assert not others()
    await asyncio.sleep(30.0)
    assert len(heard) == pieces


@wrapped
async def test_cancelled_in_the_moment_of_a_timeout_it_is_cancelled(wrap: Callable[[Member], Member]) -> None:
    ada = ScriptedMember(Hang())
    member = wrap(TimeLimiting(ada, TimeLimits(total_s=5.0)))
    task = asyncio.create_task(member.ask(CALL))
    asyncio.get_running_loop().call_later(5.0, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()
    assert ada.running == 0


@wrapped
async def test_it_can_be_asked_again_after_anything(wrap: Callable[[Member], Member]) -> None:
    ada = ScriptedMember(DOWN, Hang(), CutOff(["fo"]), Fail(RuntimeError("bug")), Answer("four"))
    member = wrap(ada)
    outcomes: list[str] = []
    for _ in range(8):
        task = asyncio.create_task(member.ask(CALL, lambda _: None))
        await asyncio.wait([task], timeout=10.0)
        task.cancel()
        await asyncio.wait([task])
        outcomes.append("cancelled" if task.cancelled() else type(task.exception() or task.result()).__name__)
    assert outcomes[-4:] == ["Completion"] * 4


# --- time limits ------------------------------------------------------------------------------------------------------


async def timed_out(member: Member, call: Call = CALL, emit: Emit | None = None) -> tuple[float, str]:
    """After how long a call times out, and what it says."""
    began_at = now()
    with pytest.raises(MemberTimeout) as caught:
        await member.ask(call, emit)
    assert caught.value.member == "ada"
    return now() - began_at, caught.value.message


async def test_a_call_ends_when_its_time_is_over() -> None:
    ada = ScriptedMember(Hang())
    member = TimeLimiting(ada, TimeLimits(first_token_s=30.0, idle_s=20.0, total_s=120.0))
    assert await timed_out(member) == (60.0, "no answer within 60.0 s")
    assert await timed_out(member, Call("ada", QUESTION, 300.0)) == (120.0, "no answer within 120.0 s")
    assert await timed_out(member, Call("ada", QUESTION, 0.0)) == (0.0, "no answer within 0.0 s")
    assert [call.timeout_s for call in ada.calls] == [60.0, 120.0, 0.0]
    assert (ada.running, ada.cancelled) == (0, 3)
    assert member.counters() == {"time_limits_reached_total": 3}


async def test_a_watched_call_ends_when_its_first_piece_its_next_piece_or_its_end_is_late() -> None:
    limits = TimeLimits(first_token_s=30.0, idle_s=20.0, total_s=120.0)

    def member(behaviour: Behaviour) -> TimeLimiting:
        return TimeLimiting(ScriptedMember(behaviour), limits)

    def ignore(_: Delta) -> None: ...

    call = Call("ada", QUESTION, 300.0)
    assert await timed_out(member(Hang()), call, ignore) == (30.0, "no first token within 30.0 s")
    slow = Answer("one two", piece_delay_s=21.0)
    assert await timed_out(member(slow), call, ignore) == (20.0, "no token for 20.0 s")
    endless = Answer("word " * 100, piece_delay_s=19.0)
    assert await timed_out(member(endless), call, ignore) == (120.0, "no end within 120.0 s")
    short = Call("ada", QUESTION, 7.0)
    assert await timed_out(member(Hang()), short, ignore) == (7.0, "no first token within 7.0 s")
    assert await timed_out(member(slow), short, ignore) == (7.0, "no end within 7.0 s")


async def test_without_limits_the_calls_own_time_is_the_limit() -> None:
    member = TimeLimiting(ScriptedMember(Answer("one two three", piece_delay_s=15.0)), TimeLimits())
    assert (await member.ask(CALL, lambda _: None)).text == "one two three"
    assert (await timed_out(member, Call("ada", QUESTION, 20.0), lambda _: None))[0] == 20.0


async def test_a_timeout_of_the_members_own_making_is_not_taken_for_ours() -> None:
    with pytest.raises(TimeoutError):
        await TimeLimiting(ScriptedMember(Fail(TimeoutError())), TimeLimits()).ask(CALL)


async def test_what_is_written_after_the_end_is_dropped() -> None:
    class Lingers:
        emit: Emit | None = None

        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            assert emit is not None
            self.emit = emit
            try:
                await asyncio.sleep(100.0)
            finally:
                emit(Delta("while it is cancelled"))
            return Completion()

    heard: list[Delta] = []
    lingers = Lingers()
    await timed_out(TimeLimiting(lingers, TimeLimits()), emit=heard.append)
    assert lingers.emit is not None
    lingers.emit(Delta("later"))
    assert heard == []


# --- their order ------------------------------------------------------------------------------------------------------


async def test_every_attempt_takes_a_turn_of_the_limits() -> None:
    member = resilient(
        ScriptedMember(DOWN, Answer("four")),
        ResilienceSettings(retries=RetrySettings(max_backoff_s=0.0)),
        rng=random.Random(7),
        limiter=Limiter(LimitSettings(requests_per_minute=1)),
    )
    began_at = now()
    assert (await member.ask(Call("ada", QUESTION, 100.0))).text == "four"
    assert now() - began_at == pytest.approx(60.0)


async def test_waiting_for_a_turn_is_not_timed_as_an_answer() -> None:
    member = resilient(
        ScriptedMember(Answer("four"), delay_s=9.0),
        ResilienceSettings(timeouts=TimeLimits(total_s=10.0), retries=None),
        rng=random.Random(7),
        limiter=Limiter(LimitSettings(concurrency=1)),
    )
    completions = await asyncio.gather(*(member.ask(CALL) for _ in range(5)))
    assert [completion.text for completion in completions] == ["four"] * 5


async def test_the_breaker_hears_of_each_attempt_and_ends_a_series_of_them() -> None:
    ada = ScriptedMember(DOWN)
    member = resilient(
        ada,
        ResilienceSettings(breaker=BreakerSettings(failures=3), retries=RetrySettings(attempts=10, budget_reserve=100)),
        rng=random.Random(7),
    )
    with pytest.raises(BreakerOpen):
        await member.ask(CALL)
    assert len(ada.calls) == 3
    assert not member.ready()


async def test_while_the_breaker_is_open_nobody_queues_to_be_refused() -> None:
    ada = ScriptedMember(DOWN, DOWN, Hang())
    limiter = Limiter(LimitSettings(requests_per_minute=2))
    member = resilient(
        ada,
        ResilienceSettings(breaker=BreakerSettings(failures=2), retries=None),
        rng=random.Random(7),
        limiter=limiter,
    )
    for _ in range(2):
        with pytest.raises(MemberUnavailable):
            await member.ask(CALL)
    began_at = now()
    with pytest.raises(BreakerOpen):
        await member.ask(Call("ada", QUESTION, 300.0))
    assert now() == began_at
    assert limiter.queued == 0


async def test_our_own_limits_do_not_open_the_breaker_and_are_not_repeated() -> None:
    ada = ScriptedMember(Hang())
    member = resilient(
        ada,
        ResilienceSettings(),
        rng=random.Random(7),
        limiter=Limiter(LimitSettings(concurrency=1, max_queued=1)),
    )
    calls = [asyncio.create_task(member.ask(CALL)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(call.done() for call in calls) == 48
    assert member.ready()
    assert member.counters()["retries_total"] == 0
    assert member.counters()["limit_refusals_total"] == 48
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert not others()


async def test_a_stand_in_answers_when_everything_else_was_tried_and_at_once_when_the_breaker_is_open() -> None:
    ada, bob = ScriptedMember(DOWN), ScriptedMember(Answer("four"))
    member = resilient(ada, ResilienceSettings(), rng=random.Random(7), stand_ins=[StandingIn(bob, "bob")])
    assert (await member.ask(CALL)).answered_by == "bob"
    assert len(ada.calls) == 3
    while member.ready():
        await member.ask(CALL)
    began_at = now()
    asked = len(ada.calls)
    assert (await member.ask(CALL)).answered_by == "bob"
    assert now() == began_at
    assert len(ada.calls) == asked


async def test_a_second_call_may_begin_while_the_first_waits_to_be_repeated() -> None:
    class Widest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    ada = ScriptedMember(*[Answer("four")] * 20, DOWN, delay_s=1.0)
    member = resilient(
        ada,
        ResilienceSettings(
            retries=RetrySettings(first_backoff_s=30.0, max_backoff_s=30.0), hedging=HedgeSettings(budget_percent=5)
        ),
        rng=Widest(),
        second=ScriptedMember(Answer("second")),
    )
    for _ in range(20):
        await member.ask(CALL)
    began_at = now()
    assert (await member.ask(CALL)).text == "second"
    assert now() - began_at == pytest.approx(1.0)


async def test_what_is_not_set_is_left_out() -> None:
    ada = ScriptedMember(Answer("four"))
    member = resilient(ada, ResilienceSettings(None, None, None, HEDGES), rng=random.Random(7))
    assert member.outermost is ada
    assert member.ready()
    assert member.counters() == {}


async def test_the_numbers_are_plain_and_each_has_one_name() -> None:
    member = everything(ScriptedMember())
    await member.ask(CALL)
    parts: list[Counted] = list(member.parts)
    numbers = member.counters()
    assert len(parts) == 6
    assert len(numbers) == sum(len(part.counters()) for part in parts)
    assert all(type(number) in (int, float) for number in numbers.values())


def test_settings_travel_to_replicas() -> None:
    for value in (ResilienceSettings(hedging=HEDGES), LIMITS, TimeLimits(1.0), RetrySettings(), BreakerSettings()):
        assert pickle.loads(pickle.dumps(value)) == value


# --- whatever the backend does ----------------------------------------------------------------------------------------


@dataclass
class Erratic:
    """A backend that does something else every time."""

    draws: random.Random
    calls: int = 0
    running: int = 0
    at_once: int = 0
    begun_at: list[float] = field(default_factory=list[float])

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        self.calls += 1
        self.begun_at.append(now())
        self.running += 1
        self.at_once = max(self.at_once, self.running)
        try:
            await asyncio.sleep(self.draws.choice([0.0, 0.1, 1.0, 5.0]))
            match self.draws.randrange(12):
                case 0:
                    raise MemberUnavailable("refused")
                case 1:
                    raise MemberOverloaded("HTTP 429", retry_after_s=self.draws.choice([None, 0.5, 30.0, 1e9]))
                case 2:
                    raise MemberRejected("too long")
                case 3:
                    await asyncio.Event().wait()
                case 4:
                    if emit:
                        emit(Delta("fo"))
                    raise MalformedReply("cut off")
                case 5:
                    raise RuntimeError("outside of the tree")
                case _:
                    pass
            if emit:
                for piece in ("fo", "ur"):
                    emit(Delta(piece))
                    await asyncio.sleep(0.5)
            return Completion("four", usage=Usage(10, 10))
        finally:
            self.running -= 1


@given(
    seed=st.integers(0, 2**32),
    retry_percent=st.sampled_from([10, 60]),
    hedge_percent=st.sampled_from([5, 60]),
    plan=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0, 0.2, 3.0, 25.0]),  # pause before it
            st.sampled_from([0.5, 10.0, 60.0]),  # timeout
            st.booleans(),  # watched
            st.none() | st.floats(0.0, 20.0),  # cancelled after
        ),
        min_size=1,
        max_size=60,
    ),
)
@settings(max_examples=100)
async def test_a_storm(
    seed: int, retry_percent: int, hedge_percent: int, plan: list[tuple[float, float, bool, float | None]]
) -> None:
    first, second = Erratic(random.Random(seed)), Erratic(random.Random(seed + 1))
    member = resilient(
        first,
        ResilienceSettings(
            timeouts=TimeLimits(30.0, 20.0, 120.0),
            retries=RetrySettings(budget_percent=retry_percent),
            hedging=HedgeSettings(min_samples=2, budget_percent=hedge_percent),
        ),
        rng=random.Random(7),
        limiter=Limiter(LimitSettings(concurrency=5, requests_per_minute=30, max_queued=5)),
        second=TimeLimiting(second, TimeLimits()),
        stand_ins=[StandingIn(ScriptedMember(Fail(MemberRejected("not I"))), "bob")],
    )

    async def one(timeout_s: float, watched: bool) -> None:
        heard: list[str] = []
        began_at = now()
        try:
            call = Call("ada", QUESTION, timeout_s)
            completion = await member.ask(call, (lambda delta: heard.append(delta.text)) if watched else None)
        except (MemberError, RuntimeError):
            pass
        else:
            assert not watched or "".join(heard) == completion.text
        finally:
            assert now() - began_at <= timeout_s + LOSER_WAIT_S + 1e-6
            assert "".join(heard) in ("", "fo", "four")

    tasks: list[asyncio.Task[None]] = []
    for pause_s, timeout_s, watched, cancelled_after_s in plan:
        await asyncio.sleep(pause_s)
        tasks.append(task := asyncio.create_task(one(timeout_s, watched)))
        if cancelled_after_s is not None:
            asyncio.get_running_loop().call_later(cancelled_after_s, task.cancel)
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            await task
    numbers = member.counters()
    assert first.running == second.running == 0
    assert not others()
    assert (numbers["limit_running"], numbers["limit_queued"]) == (0, 0)
    assert first.at_once <= 5
    assert max((sum(at <= other < at + 60.0 for other in first.begun_at) for at in first.begun_at), default=0) <= 30
    assert numbers["retries_total"] <= 3 + len(plan) * retry_percent / 100
    assert numbers["hedges_total"] <= len(plan) * hedge_percent / 100
    assert first.calls + second.calls <= len(plan) + numbers["retries_total"] + numbers["hedges_total"]
    await asyncio.sleep(60.0)
    assert member.ready()


@dataclass
class Flaky:
    """A backend that fails one call in ten, always in the same way."""

    behaviour: Behaviour
    draws: random.Random
    calls: int = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        self.calls += 1
        await asyncio.sleep(self.draws.uniform(0.02, 0.2))
        if self.draws.random() < 0.1:
            return await ScriptedMember(self.behaviour).ask(call, emit)
        await asyncio.sleep(self.draws.uniform(0.2, 2.0))
        return Completion("four", usage=Usage(10, 10))


async def test_a_panel_of_flaky_backends_under_load_answers_and_keeps_its_members() -> None:
    flaws = [
        DOWN,
        Hang(),
        Fail(MemberOverloaded("HTTP 429", retry_after_s=1.0)),
        Fail(MalformedReply("html")),
        Fail(MemberOverloaded("HTTP 503")),
    ]
    backends = {f"member {n}": Flaky(flaw, random.Random(n)) for n, flaw in enumerate(flaws)}
    pool = {
        name: resilient(
            backend,
            ResilienceSettings(timeouts=TimeLimits(5.0, 5.0, 10.0)),
            rng=random.Random(7),
            limiter=Limiter(LimitSettings(concurrency=40)),
        )
        for name, backend in backends.items()
    }
    places = asyncio.Semaphore(50)

    async def one() -> float:
        async with places:
            began_at = now()
            result = await fused({**pool, "judge": ScriptedMember(favouring("four"))}, quorum=2, deadline_s=20.0)
            assert result.completion.text == "four"
            return now() - began_at

    took_s = await asyncio.gather(*(one() for _ in range(200)))
    assert max(took_s) < 10.0
    for name, member in pool.items():
        numbers = member.counters()
        assert numbers["breaker_openings_total"] == 0
        assert (numbers["limit_running"], numbers["limit_queued"]) == (0, 0)
        assert backends[name].calls <= 200 + numbers["retries_total"]
        assert numbers["retries_total"] <= 3 + 200 / 10
    assert not others()
