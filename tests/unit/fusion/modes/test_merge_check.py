"""A merge that is worse than the best of what it was made from is not returned."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fusion.chat import Call, Completion
from fusion.errors import MemberUnavailable
from fusion.member import Emit
from fusion.modes.merge_check import MERGED
from fusion.results import Fused
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import Recorder, fused, shown_answers

SCORES = {"four": 6, "five": 2, "It is four.": 9, "It is five.": 3}


class Judge:
    """A judge model that writes this merge, and gives the answers these scores. Each call takes a second."""

    def __init__(self, merge: str = "It is four.", place: int | None = None) -> None:
        self.merge = merge
        self.place = place
        self.calls: list[Call] = []

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        self.calls.append(call)
        await asyncio.sleep(1)
        if call.request.response_schema is None:
            assert emit is None, "nothing is streamed before it was checked"
            return Completion(self.merge)
        shown = list(shown_answers(call).items())
        scores = {label: SCORES[text] for label, text in shown}
        if self.place is not None and len(shown) == 2 and any(text == self.merge for _, text in shown):
            scores = {label: 9 if place == self.place else 2 for place, (label, _) in enumerate(shown)}
        return Completion(json.dumps({"reason": "so", "scores": scores}))


async def asked(watcher: Recorder | None = None, **judges: Any) -> Fused:
    members = {"ada": ScriptedMember(Answer("five")), "bob": ScriptedMember(Answer("four"))}
    return await fused(
        {**members, **judges},
        "merge",
        judges=tuple(judges),
        quorum=2,
        no_harm=True,
        both_orders=True,
        watcher=watcher,
    )


async def test_a_merge_that_wins_is_returned_once_it_was_checked_blind_in_both_orders() -> None:
    began_at = asyncio.get_running_loop().time()
    judge, watcher = Judge(), Recorder()
    result = await asked(watcher, judge=judge)
    assert result.completion.text == watcher.text == "It is four."
    assert asyncio.get_running_loop().time() - began_at == pytest.approx(2), (
        "the best is found while the merge is written"
    )
    assert result.no_harm is not None
    assert (result.no_harm.best, result.no_harm.returned, result.degraded) == ("bob", None, None)
    verdict = result.no_harm.verdict
    assert verdict is not None
    assert (verdict.winner, verdict.agreed) == (MERGED, True)
    assert verdict.scores == {MERGED: 9, "bob": 6}
    one, other = (list(shown_answers(call).values()) for call in judge.calls[-2:])
    assert one == list(reversed(other))
    assert sorted(one) == ["It is four.", "four"]
    assert not any(
        name in message.text
        for call in judge.calls[-2:]
        for message in call.request.messages
        for name in ("bob", MERGED)
    )
    assert [(spent.stage, spent.calls) for spent in result.stages] == [
        ("panel", 2),
        ("judge", 2),
        ("write", 1),
        ("no_harm", 2),
    ]


async def test_a_merge_that_loses_gives_way_to_the_best_candidate() -> None:
    watcher = Recorder()
    result = await asked(watcher, judge=Judge("It is five."))
    assert result.completion.text == watcher.text == "four"
    assert result.judge == "judge"
    assert result.degraded == "merge_lost: judge prefers bob's candidate"
    assert result.no_harm is not None
    assert result.no_harm.returned == "bob"


@pytest.mark.parametrize("place", [0, 1])
async def test_a_judge_that_favours_a_place_takes_nothing_from_the_merge(place: int) -> None:
    result = await asked(judge=Judge(place=place))
    assert result.completion.text == "It is four."
    assert result.no_harm is not None
    assert result.no_harm.verdict is not None
    assert (result.no_harm.verdict.agreed, result.no_harm.verdict.tie_broken_by) == (False, "trust")


async def test_another_judge_than_the_one_that_wrote_it_is_asked_where_there_is_one() -> None:
    writer, other = Judge(), Judge()
    result = await asked(writer=writer, other=other)
    assert result.judge == "writer"
    assert result.no_harm is not None
    assert result.no_harm.verdict is not None
    assert result.no_harm.verdict.judge == "other"
    assert (len(writer.calls), len(other.calls)) == (3, 2)


class Breaks(Judge):
    """A judge model that fails in some of its calls."""

    def __init__(self, *, writing: bool = False, checking: bool = False, picking: bool = False) -> None:
        super().__init__()
        self.fails = {"write": writing, "check": checking, "pick": picking}

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        shown = shown_answers(call).values()
        writes = call.request.response_schema is None
        kind = "write" if writes else "check" if self.merge in shown else "pick"
        if self.fails[kind]:
            raise MemberUnavailable("refused")
        return await super().ask(call, emit)


async def test_a_merge_that_cannot_be_checked_stands_and_says_so() -> None:
    result = await asked(judge=Breaks(checking=True))
    assert result.completion.text == "It is four."
    assert result.degraded == "no_harm_unchecked: judge (unavailable)"
    assert result.no_harm is not None
    assert (result.no_harm.verdict, result.no_harm.failures) == (None, (("judge", "unavailable"),))


async def test_the_next_judge_writes_when_one_fails() -> None:
    result = await asked(judge=Breaks(writing=True), deputy=Judge())
    assert result.completion.text == "It is four."
    assert (result.judge, result.degraded) == ("deputy", "judge_replaced: judge (unavailable)")


async def test_when_the_best_cannot_be_found_the_most_trusted_is_compared() -> None:
    result = await asked(judge=Breaks(picking=True))
    assert result.no_harm is not None
    assert (result.no_harm.best, result.no_harm.returned) == ("ada", None)


async def test_when_nobody_writes_the_most_trusted_candidate_stands() -> None:
    result = await asked(judge=ScriptedMember(Fail(MemberUnavailable("refused"))))
    assert result.completion.text == "five"
    assert result.degraded == "judge_failed: judge (unavailable); the answer is ada's"
    assert result.no_harm is None
