"""Asking judge models in line, against a run that follows a script."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fusion.chat import Completion
from fusion.errors import JudgeInterrupted
from fusion.judging.succession import Succession, first_success
from fusion.presets import time_shares
from fusion.results import Failure
from fusion.steps import AskJudge, Outcome
from fusion.testing import ScriptedRun
from tests.support.panels import QUESTION

JUDGES = ("judge", "deputy", "third")
REFUSED = Failure("unavailable", "refused")
UNREADABLE = Failure("invalid_verdict", "no verdict")


def asks_of(judge: str, share: float) -> list[AskJudge]:
    return [AskJudge(judge, QUESTION, share)]


def read(judge: str, outcomes: Sequence[Outcome]) -> str | Failure:
    """A reply that begins with a question mark cannot be read."""
    [outcome] = outcomes
    if isinstance(outcome, Failure):
        return outcome
    return UNREADABLE if outcome.text.startswith("?") else f"{judge}: {outcome.text}"


def test_judges_share_the_time_that_is_left_when_they_are_asked() -> None:
    assert list(time_shares(JUDGES)) == [("judge", 1 / 3), ("deputy", 1 / 2), ("third", 1.0)]


async def test_the_first_that_gives_a_value_ends_the_line() -> None:
    run = ScriptedRun(outcomes=[REFUSED, Completion("?"), Completion("four")])
    found = await first_success(run, JUDGES, asks_of, read)
    failures = [("judge", "unavailable"), ("deputy", "invalid_verdict")]
    assert found == Succession("third: four", "third", failures)
    assert [asked.asks[0].share for asked in run.asked] == [1 / 3, 1 / 2, 1.0]


async def test_when_all_fail_there_is_no_value_and_every_failure() -> None:
    found = await first_success(ScriptedRun(outcomes=[REFUSED, REFUSED]), JUDGES[:2], asks_of, read)
    assert found == Succession(None, None, [("judge", "unavailable"), ("deputy", "unavailable")])


async def test_without_judges_nothing_is_asked() -> None:
    assert await first_success(ScriptedRun(), (), asks_of, read) == Succession(None, None, [])


async def test_what_goes_beside_goes_with_the_first_alone() -> None:
    beside = AskJudge("analyst", QUESTION, stage="analysis", beside=True)
    run = ScriptedRun(outcomes=[REFUSED, Completion("notes"), Completion("four")])
    found = await first_success(run, JUDGES, asks_of, read, [beside])
    assert (found.value, found.beside) == ("deputy: four", (Completion("notes"),))
    assert [[ask.judge for ask in asked.asks] for asked in run.asked] == [["judge", "analyst"], ["deputy"]]


async def test_an_answer_that_breaks_off_is_no_matter_for_the_next_in_line() -> None:
    run = ScriptedRun(outcomes=[JudgeInterrupted("cut off"), Completion("four")])
    with pytest.raises(JudgeInterrupted):
        await first_success(run, JUDGES, asks_of, read)
    assert len(run.asked) == 1
