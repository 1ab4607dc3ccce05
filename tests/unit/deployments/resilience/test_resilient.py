"""The wrappers together: each of them is a member, their order is one, and a member in all of them keeps its promises
whatever its backend does."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.judge.chain import judge_side
from deployments.providers.chain import replica_side
from deployments.resilience.breaker import BreakerSettings, Breaking
from deployments.resilience.fallbacks import FallbackTarget, FallingBack
from deployments.resilience.hedging import LOSER_WAIT_S, HedgeSettings, Hedging
from deployments.resilience.limits import Limiter, Limiting, LimitSettings
from deployments.resilience.resilient import Counted, Resilient
from deployments.resilience.retries import Retrying, RetrySettings
from deployments.resilience.targets import Targets
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
from tests.support.panels import QUESTION, favouring, fused, profile
from tests.support.timed import Timed

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


def chained(
    member: Member,
    *,
    limits: LimitSettings | None = None,
    breaker: BreakerSettings | None = None,
    retries: RetrySettings | None = None,
    hedging: HedgeSettings | None = None,
    second: Member | None = None,
    fallbacks: Sequence[FallbackTarget] = (),
    rng: random.Random | None = None,
) -> Resilient:
    """The member in the replica's wrappers and in those of the judge's that are asked for, as `judge_side` orders
    them."""
    inner = replica_side(
        member,
        retries or RetrySettings(),
        breaker or BreakerSettings(),
        Limiter(limits or LimitSettings()),
        rng=rng or random.Random(7),
    )
    outermost: Member = inner.outermost
    counted = [*inner.counted]
    if second is not None:
        outermost = hedge = Hedging(outermost, second, hedging or HedgeSettings())
        counted.append(hedge)
    if fallbacks:
        outermost = falling_back = FallingBack(outermost, fallbacks)
        counted.append(falling_back)
    return Resilient(outermost, tuple(counted), inner.breaker)


def everything(member: Member) -> Resilient:
    """The member in all wrappers, with another like it as its hedge and one that is down as its fallback."""
    return chained(
        member,
        limits=LIMITS,
        hedging=HEDGES,
        second=member,
        fallbacks=[FallbackTarget(ScriptedMember(Fail(MemberRejected("not I"))), "bob")],
    )


WRAPPERS: dict[str, Callable[[Member], Member]] = {
    "bare": lambda member: member,
    "Limiting": lambda member: Limiting(member, Limiter(LIMITS)),
    "Breaking": lambda member: Breaking(member, BreakerSettings()),
    "Retrying": lambda member: Retrying(member, RetrySettings(attempts=1), rng=random.Random(7)),
    "Hedging": lambda member: Hedging(member, ScriptedMember(Hang()), HedgeSettings()),
    "FallingBack": lambda member: FallingBack(member, [FallbackTarget(ScriptedMember(DOWN), "bob")]),
    "FallbackTarget": lambda member: FallbackTarget(member, "ada"),
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
    member = wrap(Timed(ada, 5.0))
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


# --- their order ------------------------------------------------------------------------------------------------------


async def test_every_attempt_takes_a_slot_of_the_limits() -> None:
    member = chained(
        ScriptedMember(DOWN, Answer("four")),
        retries=RetrySettings(max_backoff_s=0.0),
        limits=LimitSettings(requests_per_minute=1),
    )
    began_at = now()
    assert (await member.ask(Call("ada", QUESTION, 100.0))).text == "four"
    assert now() - began_at == pytest.approx(60.0)


async def test_waiting_for_a_slot_is_not_timed_as_an_answer() -> None:
    member = chained(Timed(ScriptedMember(Answer("four"), delay_s=9.0), 10.0), limits=LimitSettings(concurrency=1))
    completions = await asyncio.gather(*(member.ask(CALL) for _ in range(5)))
    assert [completion.text for completion in completions] == ["four"] * 5


async def test_the_breaker_hears_of_each_attempt_and_ends_a_series_of_them() -> None:
    ada = ScriptedMember(DOWN)
    member = chained(ada, breaker=BreakerSettings(failures=3), retries=RetrySettings(attempts=10, budget_reserve=100))
    with pytest.raises(BreakerOpen):
        await member.ask(CALL)
    assert len(ada.calls) == 3
    assert not member.ready()


async def test_while_the_breaker_is_open_nobody_queues_to_be_refused() -> None:
    ada = ScriptedMember(DOWN, DOWN, Hang())
    member = chained(
        ada,
        breaker=BreakerSettings(failures=2),
        retries=RetrySettings(attempts=1),
        limits=LimitSettings(requests_per_minute=2),
    )
    for _ in range(2):
        with pytest.raises(MemberUnavailable):
            await member.ask(CALL)
    began_at = now()
    with pytest.raises(BreakerOpen):
        await member.ask(Call("ada", QUESTION, 300.0))
    assert now() == began_at
    assert member.counters()["limit_queued"] == 0


async def test_our_own_limits_do_not_open_the_breaker_and_are_not_repeated() -> None:
    ada = ScriptedMember(Hang())
    member = chained(ada, limits=LimitSettings(concurrency=1, max_queued=1))
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


async def test_a_fallback_answers_when_everything_else_was_tried_and_at_once_when_the_breaker_is_open() -> None:
    ada, bob = ScriptedMember(DOWN), ScriptedMember(Answer("four"))
    member = chained(ada, fallbacks=[FallbackTarget(bob, "bob")])
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
    member = chained(
        ada,
        retries=RetrySettings(first_backoff_s=30.0, max_backoff_s=30.0),
        second=ScriptedMember(Answer("second")),
        rng=Widest(),
    )
    for _ in range(20):
        await member.ask(CALL)
    began_at = now()
    assert (await member.ask(CALL)).text == "second"
    assert now() - began_at == pytest.approx(1.0)


def test_the_chains_are_built_in_the_order_in_which_they_are_drawn() -> None:
    far = replica_side(ScriptedMember(), RetrySettings(), BreakerSettings(), Limiter(LIMITS))
    assert kinds(far.outermost) == ["Retrying", "Breaking", "Limiting", "ScriptedMember"]
    unbroken = replica_side(ScriptedMember(), RetrySettings(), None, Limiter(LIMITS))
    assert kinds(unbroken.outermost) == ["Retrying", "Limiting", "ScriptedMember"]
    members = {"ada": ScriptedMember(), "bob": ScriptedMember()}
    profiles = {name: profile(name) for name in members}
    side = judge_side(members, profiles, {"ada": Targets("bob", ("bob",))}, trace=lambda member: Spanned(member))
    assert kinds(side.members["ada"].outermost) == [  # type: ignore[attr-defined]
        "FallingBack",
        "Hedging",
        "Spanned",
        "ProfiledMember",
        "ScriptedMember",
    ]
    assert kinds(side.members["bob"]) == kinds(side.alone["bob"]) == ["Spanned", "ProfiledMember", "ScriptedMember"]


class Spanned:
    """A member whose calls are traced."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        return await self._member.ask(call, emit)


def kinds(member: Any) -> list[str]:
    """The wrappers from the outside in."""
    inner = getattr(member, "_member", None)
    return [type(member).__name__, *([] if inner is None else kinds(inner))]


async def test_the_numbers_are_plain_and_each_has_one_name() -> None:
    member = everything(ScriptedMember())
    await member.ask(CALL)
    parts: list[Counted] = list(member.counted)
    numbers = member.counters()
    assert len(parts) == 5
    assert len(numbers) == sum(len(part.counters()) for part in parts)
    assert all(type(number) in (int, float) for number in numbers.values())


def test_settings_travel_to_replicas() -> None:
    for value in (HEDGES, LIMITS, RetrySettings(), BreakerSettings(), Targets("bob", ("cyd",))):
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
    member = chained(
        Timed(first),
        retries=RetrySettings(budget_percent=retry_percent),
        hedging=HedgeSettings(min_samples=2, budget_percent=hedge_percent),
        limits=LimitSettings(concurrency=5, requests_per_minute=30, max_queued=5),
        second=Timed(second),
        fallbacks=[FallbackTarget(ScriptedMember(Fail(MemberRejected("not I"))), "bob")],
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
        name: chained(Timed(backend, 5.0), limits=LimitSettings(concurrency=40)) for name, backend in backends.items()
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
