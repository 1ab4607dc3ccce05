"""A second call: when it is made, who wins, what becomes of the loser, and how many there are at most."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.resilience.hedging import LOSER_WAIT_S, HedgeSettings, Hedging
from deployments.resilience.latencies import Latencies
from fusion.chat import Call, Completion, Delta
from fusion.errors import MalformedReply, MemberError, MemberUnavailable
from fusion.member import Emit, Member
from fusion.testing import Answer, CutOff, Fail, Hang, IgnoreCancellation, ScriptedMember
from tests.support.panels import QUESTION

CALL = Call("ada", QUESTION, timeout_s=60.0)
GENEROUS = HedgeSettings(min_samples=20, budget_percent=100)


def now() -> float:
    return asyncio.get_running_loop().time()


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@dataclass
class Paced:
    """A member that takes so many seconds, a call each, the last one for ever after. It streams two pieces: the first
    when that time is over, the second a second later."""

    takes_s: Sequence[float]
    text: str = "first"
    error: BaseException | None = None
    calls: list[Call] = field(default_factory=list[Call])
    running: int = 0
    cancelled: int = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        takes_s = self.takes_s[min(len(self.calls), len(self.takes_s) - 1)]
        self.calls.append(call)
        self.running += 1
        try:
            await asyncio.sleep(takes_s)
            if self.error:
                raise self.error
            if emit:
                emit(Delta(f"{self.text} "))
                await asyncio.sleep(1.0)
                emit(Delta("answer"))
            return Completion(f"{self.text} answer")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def warm(first: Paced, second: Member, settings: HedgeSettings = GENEROUS, *, watched: bool = False) -> Hedging:
    """A member that was asked often enough to know what it usually takes: a second, or two now and then."""
    usual = [1.0] * 19 + [2.0]
    first.takes_s = [*usual, *first.takes_s]
    member = Hedging(first, second, settings)
    for _ in usual:
        await member.ask(CALL, (lambda _: None) if watched else None)
    first.calls.clear()
    first.takes_s = first.takes_s[len(usual) :]
    return member


# --- when -------------------------------------------------------------------------------------------------------------


async def test_nothing_is_hedged_before_enough_is_known() -> None:
    second = ScriptedMember()
    member = Hedging(Paced([1.0] * 19 + [50.0]), second, GENEROUS)
    for _ in range(20):
        assert (await member.ask(CALL)).text == "first answer"
    assert second.calls == []


async def test_a_call_slower_than_usual_gets_a_second_and_the_first_to_answer_wins() -> None:
    first, second = Paced([50.0]), Paced([0.5], "second")
    member = await warm(first, second)
    began_at = now()
    assert (await member.ask(CALL)).text == "second answer"
    assert now() - began_at == pytest.approx(1.5)
    assert second.calls[0].timeout_s == pytest.approx(59.0)
    assert (first.running, first.cancelled) == (0, 1)
    assert not others()
    assert member.counters()["hedges_total"] == member.counters()["hedges_won_total"] == 1


async def test_the_first_may_still_win() -> None:
    first, second = Paced([1.7]), Paced([9.0], "second")
    member = await warm(first, second)
    assert (await member.ask(CALL)).text == "first answer"
    assert (second.running, second.cancelled) == (0, 1)
    assert member.counters()["hedges_won_total"] == 0


async def test_one_as_fast_as_usual_gets_none() -> None:
    second = ScriptedMember()
    member = await warm(Paced([0.9]), second)
    await member.ask(CALL)
    assert second.calls == []


async def test_a_call_that_would_be_over_first_gets_none() -> None:
    second = ScriptedMember()
    member = await warm(Paced([5.0]), second)
    await member.ask(Call("ada", QUESTION, timeout_s=0.5))
    assert second.calls == []


@given(st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_the_quantile_is_one_that_was_measured_and_covers_its_share(took_s: list[float], share: float) -> None:
    latencies = Latencies(200)
    for duration_s in took_s:
        latencies.add(duration_s)
    recent = took_s[-200:]
    quantile_s = latencies.quantile(share)
    assert len(latencies) == len(recent)
    assert quantile_s in recent
    assert sum(duration_s <= quantile_s for duration_s in recent) >= share * len(recent) - 1e-9
    assert sum(duration_s < quantile_s for duration_s in recent) < share * len(recent) + 1e-9


async def test_a_first_call_that_lost_is_remembered_as_slow() -> None:
    first, second = Paced([50.0]), Paced([4.0], "second")
    member = await warm(first, second)
    waits_s: list[float] = []
    for _ in range(3):
        await member.ask(CALL)
        waits_s.append(60.0 - second.calls[-1].timeout_s)
    # The slowest of the usual ones first; then, as more of them are slow, what those that lost took at the least.
    assert waits_s == pytest.approx([1.0, 2.0, 5.0])


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_a_first_call_that_fails_early_fails_the_whole() -> None:
    first, second = Paced([0.2], error=MemberUnavailable("refused")), ScriptedMember()
    member = Hedging(first, second, GENEROUS)
    began_at = now()
    with pytest.raises(MemberUnavailable):
        await member.ask(CALL)
    assert now() - began_at == pytest.approx(0.2)
    assert second.calls == []


async def test_one_that_fails_leaves_it_to_the_other() -> None:
    first, second = Paced([50.0]), Paced([0.5], error=MemberUnavailable("second refused"))
    member = await warm(first, second)
    assert (await member.ask(CALL)).text == "first answer"
    first.takes_s, first.error = [3.0], MemberUnavailable("first refused")
    second.takes_s, second.error, second.text = [5.0], None, "second"
    assert (await member.ask(CALL)).text == "second answer"


async def test_a_first_call_that_failed_says_nothing_of_what_is_usual() -> None:
    first, second = Paced([3.0]), Paced([5.0], "second")
    member = await warm(first, second)
    first.error = MemberUnavailable("refused")
    for _ in range(3):
        assert (await member.ask(CALL)).text == "second answer"
    assert [call.timeout_s for call in second.calls] == pytest.approx([59.0] * 3)


async def test_when_both_fail_the_error_is_the_first_ones() -> None:
    first, second = Paced([]), Paced([0.1], error=MemberUnavailable("second refused"))
    member = await warm(first, second)
    first.takes_s, first.error = [5.0], MemberUnavailable("first refused")
    with pytest.raises(MemberUnavailable, match="first refused"):
        await member.ask(CALL)
    assert not others()


async def test_a_member_that_cancels_itself_is_one_that_failed() -> None:
    first, second = Paced([]), Paced([5.0], "second")
    member = await warm(first, second)
    first.takes_s, first.error = [3.0], asyncio.CancelledError()
    assert (await member.ask(CALL)).text == "second answer"


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_the_first_to_emit_wins_the_stream() -> None:
    first, second = Paced([1.8]), Paced([0.5], "second")
    member = await warm(first, second, watched=True)
    heard: list[Delta] = []
    task = asyncio.create_task(member.ask(CALL, heard.append))
    await asyncio.sleep(1.6)
    assert heard == [Delta("second ")]
    assert (first.running, first.cancelled) == (0, 1)
    completion = await task
    assert completion.text == "".join(delta.text for delta in heard) == "second answer"
    assert not others()


async def test_a_stream_that_has_begun_is_not_hedged() -> None:
    second = ScriptedMember()
    member = await warm(Paced([0.9]), second, watched=True)
    heard: list[Delta] = []
    completion = await member.ask(CALL, heard.append)
    assert completion.text == "".join(delta.text for delta in heard) == "first answer"
    assert second.calls == []


async def test_a_stream_that_breaks_after_it_won_has_failed() -> None:
    first, second = Paced([50.0]), ScriptedMember(CutOff(["se"]))
    member = await warm(first, second, watched=True)
    heard: list[Delta] = []
    with pytest.raises(MalformedReply):
        await member.ask(CALL, heard.append)
    assert heard == [Delta("se")]
    assert first.running == 0


async def test_an_empty_delta_wins_nothing() -> None:
    first, second = Paced([1.6]), ScriptedMember(CutOff([""]), delay_s=0.1)
    member = await warm(first, second, watched=True)
    heard: list[Delta] = []
    await member.ask(CALL, heard.append)
    assert "".join(delta.text for delta in heard) == "first answer"


async def test_what_a_stubborn_loser_writes_is_dropped_and_it_is_not_waited_for_without_end() -> None:
    written: list[str] = []

    class Stubborn(Paced):
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            try:
                return await Paced.ask(self, call, emit)
            except asyncio.CancelledError:
                for _ in range(60):
                    await asyncio.sleep(0.5)
                    if emit:
                        emit(Delta("late"))
                    written.append("late")
                raise

    first, second = Stubborn([50.0]), Paced([0.5], "second")
    member = await warm(first, second, watched=True)
    heard: list[Delta] = []
    began_at = now()
    await member.ask(CALL, heard.append)
    assert now() - began_at <= 1.0 + 0.5 + 1.0 + LOSER_WAIT_S
    await asyncio.sleep(60.0)
    assert "".join(delta.text for delta in heard) == "second answer"
    # It was cancelled once: what it does to end is not broken off.
    assert len(written) == 60
    assert not others()


async def test_what_the_winner_writes_after_its_end_is_dropped() -> None:
    emits: list[Emit] = []

    class KeepsItsPen:
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            assert emit is not None
            emits.append(emit)
            emit(Delta("four"))
            return Completion("four")

    heard: list[Delta] = []
    await Hedging(KeepsItsPen(), ScriptedMember(), GENEROUS).ask(CALL, heard.append)
    emits[0](Delta("and more"))
    assert heard == [Delta("four")]


# --- cancellation and the budget --------------------------------------------------------------------------------------


@given(st.floats(0.0, 8.0), st.booleans(), st.sampled_from([0.5, 1.5, 3.0, 9.0]), st.sampled_from([0.2, 1.0, 9.0]))
@settings(max_examples=60)
async def test_cancelled_at_any_time_it_leaves_nothing_running(
    after_s: float, watched: bool, first_s: float, second_s: float
) -> None:
    first, second = Paced([first_s]), Paced([second_s], "second")
    member = await warm(first, second, watched=watched)
    task = asyncio.create_task(member.ask(CALL, (lambda _: None) if watched else None))
    handle = asyncio.get_running_loop().call_later(after_s, task.cancel)
    await asyncio.wait([task])
    handle.cancel()
    assert task.cancelled() or task.result().text in ("first answer", "second answer")
    assert first.running == second.running == 0
    assert not others()


async def test_a_stubborn_call_does_not_swallow_the_cancellation() -> None:
    member = Hedging(ScriptedMember(IgnoreCancellation(30.0)), ScriptedMember(), GENEROUS)
    task = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(1.0)
    began_at = now()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() - began_at <= LOSER_WAIT_S
    await asyncio.sleep(60.0)
    assert not others()


@given(st.lists(st.sampled_from([0.5, 1.0, 20.0]), min_size=20, max_size=150), st.integers(0, 50))
@settings(max_examples=60)
async def test_second_calls_never_exceed_their_share(takes_s: list[float], percent: int) -> None:
    first, second = Paced(takes_s), Paced([0.1], "second")
    member = Hedging(first, second, HedgeSettings(budget_percent=percent))
    for number in range(1, len(takes_s) + 1):
        await member.ask(CALL)
        assert 100 * len(second.calls) <= percent * number
    assert first.running == second.running == 0


async def test_hedges_at_once_stay_in_the_budget_too() -> None:
    first, second = Paced([30.0]), Paced([0.1], "second")
    member = await warm(first, second, HedgeSettings(budget_percent=5))
    await asyncio.gather(*(member.ask(CALL) for _ in range(80)))
    assert len(second.calls) == 5
    assert member.counters()["hedge_budget_left"] == 0


async def test_errors_come_through_as_they_are() -> None:
    error = MemberUnavailable("refused")
    with pytest.raises(MemberError) as caught:
        await Hedging(ScriptedMember(Fail(error)), ScriptedMember(Hang()), GENEROUS).ask(CALL)
    assert caught.value is error


async def test_an_answer_in_one_piece_needs_nobody_watching() -> None:
    member = Hedging(ScriptedMember(Answer("four")), ScriptedMember(), GENEROUS)
    assert (await member.ask(CALL)).text == "four"
