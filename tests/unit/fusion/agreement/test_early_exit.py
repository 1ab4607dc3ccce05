"""When candidates that agree make a judge needless."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.agreement.agreement import agreement
from fusion.chat import ToolCall
from fusion.errors import MemberUnavailable
from fusion.presets import AgreementPolicy
from fusion.results import Candidate, Mode
from fusion.testing import Answer, Fail, Hang, ScriptedMember
from tests.support.panels import Recorder, answered, favouring, fused

SHORT = AgreementPolicy()
LONG = AgreementPolicy(long=0.8)
ESSAY = " ".join(f"word{i}" for i in range(60))


def candidates_of(*texts: str) -> list[Candidate]:
    return [answered(f"m{i}", text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "quorum", "running", "agreed", "members"),
    [
        (["4", "4."], 2, 1, True, ("m0", "m1")),
        (["4", "4", "5"], 2, 0, True, ("m0", "m1")),
        (["4", "5", "4"], 2, 0, True, ("m0", "m2")),
        (["4", "4"], 1, 2, False, ("m0", "m1")),  # two others may agree on something else
        (["4", "4"], 3, 0, False, ("m0", "m1")),
        (["4", "4", "5", "5"], 2, 0, False, ("m2", "m3")),
        (["4", "5", "6"], 1, 0, False, ()),
        (["4", "5", "6", "4"], 2, 0, False, ("m0", "m3")),
        (["4", "-4"], 1, 0, False, ()),
    ],
)
def test_a_quorum_and_more_than_half_of_all_must_agree(
    texts: list[str], quorum: int, running: int, agreed: bool, members: tuple[str, ...]
) -> None:
    found = agreement(candidates_of(*texts), SHORT, quorum, running)
    assert found is not None
    assert (found.agreed, found.members) == (agreed, members)
    assert found.score == (1.0 if members else 0.0)


def test_nothing_is_compared_where_there_is_nothing_to_compare() -> None:
    assert agreement(candidates_of("4"), SHORT, 1) is None
    assert agreement(candidates_of("4", "4"), AgreementPolicy(short=False), 1) is None
    cut_off = answered("ada", "4", finish_reason="length")
    assert agreement([cut_off, answered("bob", "4")], SHORT, 1) is None
    three = agreement([cut_off, answered("bob", "4"), answered("cyd", "4"), replace(cut_off, member="dan")], SHORT, 1)
    assert three is not None
    assert not three.agreed, "answers that were cut off count among those that may differ"


def test_long_answers_agree_by_likeness_only_where_a_preset_says_so() -> None:
    near = ESSAY.replace("word30", "other")
    pair = candidates_of(ESSAY, near)
    assert not agreement(pair, SHORT, 2).agreed  # type: ignore[union-attr]
    found = agreement(pair, LONG, 2)
    assert found is not None
    assert (found.agreed, found.kind) == (True, "similarity")
    assert 0.9 < found.score < 1
    assert not agreement(pair, AgreementPolicy(long=0.99), 2).agreed  # type: ignore[union-attr]


@pytest.mark.parametrize("other", ["not word30", "word30 4", "word30 isn't", "word30 5 km"])
def test_a_number_or_a_negation_more_keeps_long_answers_apart(other: str) -> None:
    found = agreement(candidates_of(ESSAY, ESSAY.replace("word30", other)), LONG, 2)
    assert found is not None
    assert not found.agreed
    a, b = (ESSAY.replace("word30", f"word30 {distance}") for distance in ("5 km", "5 miles"))
    assert not agreement(candidates_of(a, b), LONG, 2).agreed  # type: ignore[union-attr]


def test_tool_calls_agree_on_their_arguments_values() -> None:
    def calling(member: str, arguments: str) -> Candidate:
        return answered(member, "", tool_calls=(ToolCall(member, "weather", arguments),), finish_reason="tool_calls")

    found = agreement([calling("a", '{"x": 1, "y": 2}'), calling("b", '{"y":2,"x":1}')], SHORT, 2)
    assert found is not None
    assert (found.agreed, found.kind) == (True, "tool_calls")
    assert not agreement([calling("a", '{"x": 1}'), calling("b", '{"x": 2}')], SHORT, 2).agreed  # type: ignore[union-attr]
    assert not agreement([calling("a", "{}"), answered("b", "{}")], SHORT, 2).agreed  # type: ignore[union-attr]


TEXTS = st.lists(
    st.sampled_from(["4", "4.0", "four", "-4", "5", ESSAY, ESSAY.replace("word3 ", "x "), ESSAY + " not"]),
    min_size=2,
    max_size=5,
)


@given(TEXTS, st.integers(1, 5), st.integers(0, 2))
def test_the_order_of_candidates_never_matters(texts: list[str], quorum: int, running: int) -> None:
    candidates = candidates_of(*texts)
    found = {
        (result.kind, result.score, frozenset(result.members), result.agreed)
        for order in list(permutations(candidates))[:24]
        if (result := agreement(order, LONG, quorum, running)) is not None
    }
    assert len(found) == 1


@given(TEXTS, st.integers(1, 5), st.integers(1, 3), st.data())
def test_no_straggler_can_change_what_is_agreed(
    texts: list[str], quorum: int, running: int, data: st.DataObject
) -> None:
    before = agreement(candidates_of(*texts), LONG, quorum, running)
    assert before is not None
    late = data.draw(st.lists(st.sampled_from(["4", "5", "-4", ESSAY]), max_size=running))
    after = agreement(candidates_of(*texts, *late), LONG, quorum)
    assert after is not None
    if before.agreed:
        assert after.agreed
        assert set(before.members) <= set(after.members) or before.kind == "similarity"


@given(st.sampled_from(["4", "yes", "(b)", '{"a": 1}']), st.integers(2, 6))
def test_a_unanimous_panel_is_never_changed(text: str, size: int) -> None:
    found = agreement(candidates_of(*[text] * size), SHORT, size)
    assert found is not None
    assert (found.agreed, len(found.members)) == (True, size)


# --- what it saves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate"])
@pytest.mark.parametrize("watched", [False, True])
async def test_an_agreeing_quorum_ends_the_wait_and_asks_no_judge(mode: Mode, watched: bool) -> None:
    slow, judge = ScriptedMember(Hang()), ScriptedMember(favouring("4"))
    watcher = Recorder() if watched else None
    members = {"ada": slow, "bob": ScriptedMember(Answer("The answer is 4."), delay_s=1)}
    members |= {"cyd": ScriptedMember(Answer("4"), delay_s=2), "judge": judge}
    began_at = asyncio.get_running_loop().time()
    result = await fused(members, mode, agreement=SHORT, watcher=watcher, grace=5.0)
    assert asyncio.get_running_loop().time() - began_at == pytest.approx(2)
    assert result.completion.text == "The answer is 4."
    assert watcher is None or watcher.text == "The answer is 4."
    assert (judge.calls, slow.cancelled, result.judge, result.degraded) == ([], 1, None, None)
    assert result.agreement is not None
    assert (result.agreement.kind, result.agreement.members) == ("number", ("bob", "cyd"))
    assert sum(len(member.calls) for member in members.values()) == 3


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate"])
async def test_a_panel_that_differs_is_judged_and_the_comparison_reported(mode: Mode) -> None:
    members = {"ada": ScriptedMember(Answer("-4")), "bob": ScriptedMember(Answer("4"))}
    judge = ScriptedMember(favouring("-4"))
    result = await fused({**members, "judge": judge}, mode, quorum=2, agreement=SHORT)
    assert len(judge.calls) == 1
    assert result.agreement is not None
    assert (result.agreement.agreed, result.agreement.kind) == (False, "none")


async def test_two_of_four_wait_for_the_others_that_may_outvote_them() -> None:
    members = {name: ScriptedMember(Answer("4"), delay_s=1) for name in ("ada", "bob")}
    members |= {name: ScriptedMember(Answer("5"), delay_s=1.2) for name in ("cyd", "dan")}
    judge = ScriptedMember(favouring("5"))
    result = await fused({**members, "judge": judge}, agreement=SHORT)
    assert (result.completion.text, len(judge.calls)) == ("5", 1)


async def test_a_failure_can_make_an_agreement_final() -> None:
    members = {name: ScriptedMember(Answer("4"), delay_s=1) for name in ("ada", "bob")}
    members |= {"cyd": ScriptedMember(Fail(MemberUnavailable("refused"))), "dan": ScriptedMember(Hang())}
    result = await fused({**members, "judge": ScriptedMember(favouring("4"))}, agreement=SHORT)
    assert result.timings.total_ms == pytest.approx(1000)
    assert result.agreement is not None
    assert result.agreement.agreed


async def test_a_debate_that_comes_to_agree_ends_there() -> None:
    ada = ScriptedMember(Answer("4"), Answer("5"))
    bob, judge = ScriptedMember(Answer("5")), ScriptedMember(favouring("5"))
    result = await fused({"ada": ada, "bob": bob, "judge": judge}, "debate", rounds=3, quorum=2, agreement=SHORT)
    assert (len(ada.calls), len(bob.calls), judge.calls) == (2, 2, [])
    assert result.completion.text == "5"
