"""Stand-ins: for which errors they are asked, in what order, with what time, and how it is reported."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.resilience.fallbacks import FallbackTarget, FallingBack
from fusion.chat import Call, Completion, Delta
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
from fusion.testing import Answer, CutOff, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION

CALL = Call("ada", QUESTION, timeout_s=60.0)
DOWN = Fail(MemberUnavailable("refused"))


def now() -> float:
    return asyncio.get_running_loop().time()


def falling_back(ada: ScriptedMember, **others: ScriptedMember) -> FallingBack:
    return FallingBack(ada, [FallbackTarget(member, name) for name, member in others.items()])


@pytest.mark.parametrize(
    "error",
    [
        MemberUnavailable("refused"),
        MemberTimeout("slow"),
        MemberOverloaded("HTTP 503"),
        MalformedReply("html"),
        EmptyCompletion("nothing"),
        BreakerOpen("open"),
        LimitReached("full"),
    ],
    ids=lambda error: error.code,
)
async def test_another_member_answers_in_its_own_name(error: MemberError) -> None:
    bob = ScriptedMember(Answer("four"))
    member = falling_back(ScriptedMember(Fail(error)), bob=bob)
    completion = await member.ask(CALL)
    assert (completion.text, completion.answered_by) == ("four", "bob")
    assert [call.member for call in bob.calls] == ["bob"]
    assert member.counters() == {"fallbacks_total": 1, "fallbacks_answered_total": 1}


@pytest.mark.parametrize(
    "error", [MemberRejected("too long"), MemberUnauthorized("no key"), RuntimeError("outside of the tree")], ids=repr
)
async def test_what_others_would_fail_at_too_or_the_operator_should_see_is_not_covered_up(error: Exception) -> None:
    bob = ScriptedMember()
    with pytest.raises(type(error)):
        await falling_back(ScriptedMember(Fail(error)), bob=bob).ask(CALL)
    assert bob.calls == []


async def test_a_member_that_answers_itself_has_no_stand_in() -> None:
    bob = ScriptedMember()
    member = falling_back(ScriptedMember(Answer("four")), bob=bob)
    assert (await member.ask(CALL)).answered_by is None
    assert bob.calls == []
    assert member.counters()["fallbacks_total"] == 0


async def test_stand_ins_are_asked_in_their_order_with_what_time_is_left() -> None:
    ada, bob, cyd = (ScriptedMember(DOWN, delay_s=8.0), ScriptedMember(DOWN, delay_s=5.0), ScriptedMember())
    dan = ScriptedMember()
    completion = await falling_back(ada, bob=bob, cyd=cyd, dan=dan).ask(CALL)
    assert completion.answered_by == "cyd"
    assert [call.timeout_s for call in ada.calls + bob.calls + cyd.calls] == [60.0, 52.0, 47.0]
    assert dan.calls == []


async def test_a_stand_in_that_refuses_leaves_it_to_the_next() -> None:
    bob, cyd = ScriptedMember(Fail(MemberRejected("too long"))), ScriptedMember()
    assert (await falling_back(ScriptedMember(DOWN), bob=bob, cyd=cyd).ask(CALL)).answered_by == "cyd"


async def test_when_all_fail_the_error_is_that_of_the_member_asked_for() -> None:
    error = MemberTimeout("slow", member="ada")
    member = falling_back(ScriptedMember(Fail(error)), bob=ScriptedMember(DOWN), cyd=ScriptedMember(DOWN))
    with pytest.raises(MemberTimeout) as caught:
        await member.ask(CALL)
    assert caught.value is error
    assert member.counters() == {"fallbacks_total": 2, "fallbacks_answered_total": 0}


async def test_nobody_is_asked_when_no_time_is_left() -> None:
    bob = ScriptedMember()
    ada = ScriptedMember(Fail(MemberTimeout("slow")), delay_s=60.0)
    with pytest.raises(MemberTimeout):
        await falling_back(ada, bob=bob).ask(CALL)
    assert bob.calls == []


async def test_nobody_can_go_on_with_an_answer_that_has_begun() -> None:
    bob = ScriptedMember()
    heard: list[Delta] = []
    with pytest.raises(MalformedReply):
        await falling_back(ScriptedMember(CutOff(["fo"])), bob=bob).ask(CALL, heard.append)
    assert heard == [Delta("fo")]
    assert bob.calls == []


async def test_the_stand_ins_stream_is_the_answer() -> None:
    heard: list[Delta] = []
    member = falling_back(ScriptedMember(CutOff([])), bob=ScriptedMember(Answer("two and two")))
    completion = await member.ask(CALL, heard.append)
    assert "".join(delta.text for delta in heard) == completion.text == "two and two"


async def test_what_the_first_writes_after_it_failed_is_dropped() -> None:
    emits: list[Emit] = []

    class FailsAndGoesOn:
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            assert emit is not None
            emits.append(emit)
            raise MemberUnavailable("refused")

    class WritesAfterIt:
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            assert emit is not None
            emits[0](Delta("from the grave"))
            emit(Delta("four"))
            return Completion("four")

    heard: list[Delta] = []
    await FallingBack(FailsAndGoesOn(), [FallbackTarget(WritesAfterIt(), "bob")]).ask(CALL, heard.append)
    assert heard == [Delta("four")]


async def test_who_answered_in_the_end_is_kept_through_several_hands() -> None:
    inner = falling_back(ScriptedMember(DOWN), cyd=ScriptedMember())
    assert (await FallbackTarget(inner, "bob").ask(CALL)).answered_by == "cyd"


@given(st.floats(0.0, 12.0), st.booleans())
async def test_cancelled_at_any_time_nothing_runs_on_and_nobody_else_is_asked(after_s: float, watched: bool) -> None:
    ada, bob, cyd = (ScriptedMember(DOWN, delay_s=3.0), ScriptedMember(DOWN, delay_s=3.0), ScriptedMember(Hang()))
    task = asyncio.create_task(falling_back(ada, bob=bob, cyd=cyd).ask(CALL, (lambda _: None) if watched else None))
    await asyncio.sleep(after_s)
    asked = len(ada.calls + bob.calls + cyd.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(60.0)
    assert len(ada.calls + bob.calls + cyd.calls) == asked
    assert ada.running == bob.running == cyd.running == 0


@given(st.lists(st.tuples(st.sampled_from(["down", "rejected", "good"]), st.floats(0.0, 40.0)), min_size=1, max_size=6))
async def test_it_ends_in_an_answer_if_anyone_who_was_asked_had_one(plan: list[tuple[str, float]]) -> None:
    outcomes = {"down": DOWN, "rejected": Fail(MemberRejected("too long")), "good": Answer("four")}
    first, *others = [ScriptedMember(outcomes[kind], delay_s=delay_s) for kind, delay_s in plan]
    member = falling_back(first, **{f"stand-in {number}": other for number, other in enumerate(others)})
    completion: Completion | None = None
    try:
        completion = await member.ask(CALL)
    except MemberError as error:
        assert error.code == ("rejected" if plan[0][0] == "rejected" else "unavailable")
    asked = [kind for (kind, _), scripted in zip(plan, [first, *others], strict=True) if scripted.calls]
    assert (completion is not None) == (asked[-1] == "good")
    assert "good" not in asked[:-1]
    assert all(call.timeout_s > 0 for other in others for call in other.calls)
