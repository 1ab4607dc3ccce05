"""Two cheap samples first, and the panel only where they differ."""

from __future__ import annotations

import asyncio

import pytest

from fusion.chat import Completion
from fusion.errors import MemberUnavailable, NoQuorum
from fusion.limits.call_stats import CallStats
from fusion.modes.auto import cheapest
from fusion.presets import AgreementPolicy
from fusion.pricing import Price
from fusion.runtime.round_state import Answered, Ask, Close, Failed, Round, RoundPolicy, Ticked, WakeAt
from fusion.runtime.runner import OPENING_SHARE, fuse
from fusion.steps import Opening
from fusion.testing import Answer, Behaviour, Fail, Hang, ScriptedMember
from tests.support.panels import Recorder, favouring, profile, scene

PRICES = {"ada": 15.0, "bob": 1.0, "cyd": 3.0, "dan": 1.0}
PRICED = {name: profile(name, price=Price(price, price)) for name, price in [*PRICES.items(), ("judge", 1.0)]}


def members_of(delay_s: float = 1.0, **behaviours: Behaviour | str) -> dict[str, ScriptedMember]:
    return {
        name: ScriptedMember(Answer(said) if isinstance(said, str) else said, delay_s=delay_s)
        for name, said in behaviours.items()
    } | {"judge": ScriptedMember(favouring("four"), delay_s=1.0)}


def test_the_two_cheapest_are_asked_and_of_equals_the_more_trusted() -> None:
    panel = ("ada", "bob", "cyd", "dan")
    assert cheapest(panel, PRICED) == ("bob", "dan")
    assert cheapest(("cyd", "bob", "ada"), PRICED) == ("cyd", "bob")
    assert cheapest(panel, {**PRICED, "bob": profile("bob")}) == ("cyd", "dan")
    assert cheapest(panel, {name: profile(name) for name in panel}) == ("ada", "bob")
    assert cheapest(("ada",), PRICED) == ("ada",)


async def test_two_that_agree_are_the_answer_and_nobody_else_is_asked() -> None:
    members = members_of(ada="four", bob="The answer is 4.", cyd="four", dan="4")
    task, pool = scene(members, "auto", profiles=PRICED, agreement=AgreementPolicy(), quorum=3)
    watcher = Recorder()
    known = CallStats()
    now = asyncio.get_running_loop().time()
    for _ in range(10):
        known.record("judge", "write", 2.0, answered=True, at=now, cost_usd=0.5)
        known.record("ada", "panel", 2.0, answered=True, at=now, cost_usd=0.25)
        known.record("cyd", "panel", 2.0, answered=True, at=now, cost_usd=0.125)
    result = await fuse(task, pool, watcher=watcher, call_stats=known)
    assert [len(member.calls) for member in members.values()] == [0, 1, 0, 1, 0]
    assert (result.completion.text, watcher.text, result.mode) == ("The answer is 4.", "The answer is 4.", "auto")
    assert [candidate.member for candidate in result.candidates] == ["bob", "dan"]
    assert (result.judge, result.degraded) == (None, None)
    assert result.saved is not None
    assert (result.saved.judge_calls, result.saved.unasked, result.saved.cut_short) == (1, ("ada", "cyd"), ())
    assert (result.saved.time_ms, result.saved.cost_usd) == (2000.0, 0.875)


async def test_two_that_differ_are_part_of_the_panel_that_is_then_convened() -> None:
    members = members_of(ada="four", bob="5", cyd="four", dan="4")
    watcher = Recorder()
    task, pool = scene(members, "auto", profiles=PRICED, agreement=AgreementPolicy(), decision="best-of")
    result = await fuse(task, pool, watcher=watcher)
    assert [len(member.calls) for member in members.values()] == [1, 1, 1, 1, 1]
    assert [candidate.member for candidate in result.candidates] == ["ada", "bob", "cyd", "dan"]
    assert [candidate.latency_ms for candidate in result.candidates] == pytest.approx([1000] * 4)
    assert (result.completion.text, result.judge) == ("four", "judge")
    assert [line for line in watcher.story if "asks" in line] == ["round 0 asks bob dan", "round 0 asks ada cyd"]
    assert result.timings.total_ms == pytest.approx(3000)


async def test_an_agreement_that_comes_about_in_the_panel_needs_no_judge() -> None:
    members = members_of(ada="five", bob="four", cyd="four")
    task, pool = scene(members, "auto", agreement=AgreementPolicy())
    result = await fuse(task, pool)
    assert (result.completion.text, len(members["judge"].calls)) == ("four", 0)


async def test_one_that_fails_brings_in_the_others_at_once() -> None:
    members = members_of(ada=Fail(MemberUnavailable("refused")), bob="four", cyd="four")
    task, pool = scene(members, "auto", agreement=AgreementPolicy())
    result = await fuse(task, pool)
    assert result.completion.text == "four"
    assert [candidate.status for candidate in result.candidates] == ["failed", "answered", "answered"]


async def test_one_that_hangs_brings_in_the_others_after_its_grace() -> None:
    members = members_of(ada=Hang(), bob="four", cyd="four")
    task, pool = scene(members, "auto", agreement=AgreementPolicy(), grace=0.5)
    result = await fuse(task, pool)
    assert (result.completion.text, members["ada"].cancelled) == ("four", 1)
    assert result.timings.total_ms == pytest.approx(1000 + 500 + 1000)


async def test_two_that_hang_bring_in_the_others_before_the_time_is_up() -> None:
    members = members_of(ada=Hang(), bob=Hang(), cyd="four", dan="four")
    task, pool = scene(members, "auto", agreement=AgreementPolicy(), deadline_s=60.0, quorum=2)
    result = await fuse(task, pool)
    assert result.completion.text == "four"
    assert result.timings.panel_ms == pytest.approx(60e3 * OPENING_SHARE + 2000, rel=0.1)


async def test_without_a_quorum_there_is_no_answer() -> None:
    refused = Fail(MemberUnavailable("refused"))
    task, pool = scene(members_of(ada=refused, bob=refused, cyd="four"), "auto", agreement=AgreementPolicy(), quorum=2)
    with pytest.raises(NoQuorum) as caught:
        await fuse(task, pool)
    assert {candidate.member: candidate.status for candidate in caught.value.candidates}["ada"] == "failed"


T = 100.0
YES = Completion("yes")


def opened(settled: bool, grace: float = 1.0) -> Round:
    opening = Opening(("bob", "cyd"), lambda answered, running: settled and not running)
    panel = Round(("ada", "bob", "cyd"), RoundPolicy(2, grace, T + 75, T + 100, opening=opening, widen_at=T + 20), T)
    assert panel.start() == [Ask("bob"), Ask("cyd"), WakeAt(T + 20)]
    return panel


def test_an_opening_that_settles_closes_and_the_others_have_no_outcome() -> None:
    panel = opened(True)
    assert panel.handle(Answered("cyd", YES, T + 2)) == [WakeAt(T + 4)]
    assert panel.handle(Answered("bob", YES, T + 3)) == [Close()]
    assert (panel.unasked, [ended.member for ended in panel.outcomes]) == (("ada",), ["bob", "cyd"])
    assert panel.has_quorum
    assert panel.settled


def test_an_opening_that_does_not_settle_asks_the_others_and_waits_for_them() -> None:
    panel = opened(False)
    panel.handle(Answered("cyd", YES, T + 2))
    assert panel.handle(Answered("bob", YES, T + 3)) == [Ask("ada"), WakeAt(T + 100)]
    assert panel.handle(Ticked(T + 50)) == [WakeAt(T + 100)]
    assert panel.handle(Answered("ada", YES, T + 51)) == [Close()]
    assert [ended.latency_ms for ended in panel.outcomes] == [48e3, 3e3, 2e3]


@pytest.mark.parametrize("event", [Failed("bob", MemberUnavailable("gone").as_failure(), T + 1), Ticked(T + 20)])
def test_a_failure_or_its_end_widens_an_opening(event: Failed | Ticked) -> None:
    panel = opened(True)
    assert panel.handle(event) == [Ask("ada"), WakeAt(T + 100)]
    assert panel.handle(Answered("cyd", YES, T + 30)) != [Close()]


def test_abandoning_an_opening_leaves_no_quorum() -> None:
    panel = opened(True)
    panel.handle(Answered("bob", YES, T + 1))
    panel.handle(Ticked(T + 100))
    assert panel.closed
    assert not panel.has_quorum
