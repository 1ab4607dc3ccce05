"""Who is asked besides a member, and how panels and judges report it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from deployments.judge.chain import judge_side
from deployments.resilience.resilient import Resilient
from deployments.resilience.targets import Targets
from fusion.chat import Call, Usage
from fusion.errors import BreakerOpen, MemberRejected, MemberUnavailable
from fusion.member import Member
from fusion.pricing import Price
from fusion.results import Fused
from fusion.testing import Answer, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION, favouring, fused, profile

CALL = Call("ada", QUESTION, timeout_s=60.0)
DOWN = Fail(MemberUnavailable("refused"))
HUNDRED = Answer("four", usage=Usage(100, 0))
PRICES = {"ada": profile("ada", price=Price(1.0, 1.0)), "bob": profile("bob", price=Price(5.0, 5.0))}


def now() -> float:
    return asyncio.get_running_loop().time()


async def ask_20_times(member: Member) -> None:
    """So often that it is known what the member usually takes."""
    for _ in range(20):
        await member.ask(CALL)


async def convened(members: Mapping[str, Member], targets: Mapping[str, Targets], **settings: object) -> Fused:
    """Fuse a panel of these members with their hedges and fallbacks."""
    profiles = {name: profile(name) for name in members}
    return await fused(judge_side(members, profiles, targets).members, **settings)


def resilient(name: str, targets: Targets, members: Mapping[str, Member]) -> Resilient:
    """The member with its hedge and fallbacks."""
    return judge_side(members, {each: profile(each) for each in members}, {name: targets}).resilient[name]


# --- hedges -----------------------------------------------------------------------------------------------------------


async def test_a_slow_calls_second_goes_to_another_member_in_its_own_name() -> None:
    ada, bob = ScriptedMember(*[Answer("ada's")] * 20, Hang(), delay_s=1.0), ScriptedMember(Answer("bob's"))
    member = resilient("ada", Targets(hedge="bob"), {"ada": ada, "bob": bob})
    await ask_20_times(member)
    began_at = now()
    completion = await member.ask(CALL)
    assert (completion.text, completion.answered_by) == ("bob's", "bob")
    assert now() - began_at == pytest.approx(1.0)
    assert [call.member for call in bob.calls] == ["bob"]
    assert (ada.running, ada.cancelled) == (0, 1)


async def test_a_slow_calls_second_goes_to_another_replica_in_the_same_name() -> None:
    ada = ScriptedMember(*[Answer("first")] * 20, Hang(), Answer("second"), delay_s=1.0)
    member = resilient("ada", Targets(hedge="ada"), {"ada": ada})
    await ask_20_times(member)
    completion = await member.ask(CALL)
    assert (completion.text, completion.answered_by) == ("second", None)
    assert {call.member for call in ada.calls} == {"ada"}


# --- stand-ins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemberUnavailable("refused"), BreakerOpen("open")], ids=lambda error: error.code)
async def test_a_stand_ins_answer_is_the_members_candidate_at_the_stand_ins_price(error: MemberUnavailable) -> None:
    members = {"ada": ScriptedMember(Fail(error)), "bob": ScriptedMember(HUNDRED)}
    result = await convened(members, {"ada": Targets(fallbacks=("bob",))}, profiles=PRICES, judges=("bob",), quorum=1)
    (candidate,) = result.candidates
    assert candidate.completion is not None
    assert (candidate.member, candidate.status, candidate.completion.answered_by) == ("ada", "answered", "bob")
    assert candidate.cost_usd == result.cost_usd == pytest.approx(100 * 5 / 1e6)


async def test_it_stands_where_the_member_stands_in_the_order_of_trust() -> None:
    members = {
        "ada": ScriptedMember(DOWN),
        "bob": ScriptedMember(Answer("four")),
        "cyd": ScriptedMember(Answer("five")),
        "judge": ScriptedMember(DOWN),
    }
    result = await convened(members, {"ada": Targets(fallbacks=("cyd",))}, quorum=3)
    assert [candidate.member for candidate in result.candidates] == ["ada", "bob", "cyd"]
    assert (result.completion.text, result.completion.answered_by) == ("five", "cyd")
    assert result.degraded == "judge_failed: judge (unavailable); the answer is ada's"


async def test_a_member_of_the_panel_may_stand_in_for_another() -> None:
    bob = ScriptedMember(Answer("four"))
    members = {"ada": ScriptedMember(DOWN), "bob": bob, "judge": ScriptedMember(favouring("four"))}
    result = await convened(members, {"ada": Targets(fallbacks=("bob",))}, quorum=2)
    assert [candidate.status for candidate in result.candidates] == ["answered", "answered"]
    assert len(bob.calls) == 2


async def test_stand_ins_for_each_other_do_not_go_round_in_circles() -> None:
    ada, bob = ScriptedMember(DOWN), ScriptedMember(DOWN)
    members = {"ada": ada, "bob": bob}
    member = resilient("ada", Targets(fallbacks=("bob",)), members)
    with pytest.raises(MemberUnavailable):
        await member.ask(CALL)
    assert (len(ada.calls), len(bob.calls)) == (1, 1)


async def test_what_the_stand_in_cannot_do_either_is_the_members_own_failure() -> None:
    members = {"ada": ScriptedMember(DOWN), "bob": ScriptedMember(Fail(MemberRejected("too long")))}
    with pytest.raises(MemberUnavailable):
        await resilient("ada", Targets(fallbacks=("bob",)), members).ask(CALL)


@pytest.mark.parametrize("mode", ["best-of", "merge"])
async def test_a_judge_models_stand_in_is_the_one_that_decided(mode: str) -> None:
    members = {
        "ada": ScriptedMember(HUNDRED),
        "bob": ScriptedMember(favouring("four")),
        "judge": ScriptedMember(DOWN),
    }
    result = await convened(members, {"judge": Targets(fallbacks=("bob",))}, mode=mode, profiles=PRICES, quorum=2)
    assert (result.judge, result.degraded) == ("bob", None)
    # Two answers of bob's, each of 10 tokens read and 5 written: his candidate and his decision.
    assert result.cost_usd == pytest.approx((100 * 1 + 2 * 15 * 5) / 1e6)
    if mode == "best-of":
        assert result.verdict is not None
        assert result.verdict.judge == "bob"
