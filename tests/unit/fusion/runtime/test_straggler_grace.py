"""How long stragglers are waited for, by what is known of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.chat import Completion
from fusion.errors import MemberUnavailable
from fusion.limits.call_stats import CallStats
from fusion.runtime.round_state import Answered, Cancel, Close, Failed, Round, RoundPolicy, Ticked, WakeAt
from fusion.runtime.runner import fuse
from fusion.testing import Answer, ScriptedMember
from tests.support.panels import favouring, scene

T = 100.0
YES = Completion("yes")


def a_round(waits_s: dict[str, float | None], grace: float = 1.0) -> Round:
    def wait_s(member: str, age_s: float, value_s: float) -> float | None:
        return waits_s[member]

    panel = Round(("ada", "bob", "cyd", "dan"), RoundPolicy(2, grace, T + 75, T + 100, worthwhile_wait=wait_s), T)
    panel.start()
    panel.handle(Answered("ada", YES, T + 2))
    return panel


def test_nobody_is_waited_for_when_it_pays_for_none() -> None:
    panel = a_round({"cyd": 0.0, "dan": 0.0})
    assert panel.handle(Answered("bob", YES, T + 4)) == [Cancel("cyd"), Cancel("dan"), Close()]
    assert panel.grace_saved_s == 4.0


def test_everyone_is_waited_for_as_long_as_it_pays_for_one() -> None:
    panel = a_round({"cyd": 1.0, "dan": 3.0})
    assert panel.handle(Answered("bob", YES, T + 4)) == [WakeAt(T + 7)]
    assert panel.handle(Ticked(T + 6)) == [WakeAt(T + 7)]
    assert panel.handle(Ticked(T + 7)) == [Cancel("cyd"), Cancel("dan"), Close()]
    assert panel.grace_saved_s == 1.0


def test_the_wait_ends_when_the_one_that_was_worth_it_is_in() -> None:
    panel = a_round({"cyd": 1.0, "dan": 3.0})
    panel.handle(Answered("bob", YES, T + 4))
    assert panel.handle(Answered("dan", YES, T + 4.5)) == [WakeAt(T + 5)]
    panel = a_round({"cyd": 1.0, "dan": 3.0})
    panel.handle(Answered("bob", YES, T + 4))
    assert panel.handle(Failed("dan", MemberUnavailable("gone").as_failure(), T + 6)) == [Cancel("cyd"), Close()]


def test_the_configured_grace_is_the_most_and_holds_for_whom_nothing_is_known() -> None:
    assert a_round({"cyd": 50.0, "dan": 0.0}).handle(Answered("bob", YES, T + 4)) == [WakeAt(T + 8)]
    assert a_round({"cyd": None, "dan": 0.0}).handle(Answered("bob", YES, T + 4)) == [WakeAt(T + 8)]
    assert a_round({"cyd": None, "dan": 0.0}, grace=0.0).handle(Answered("bob", YES, T + 4))[-1] == Close()


@given(
    st.dictionaries(st.sampled_from(["cyd", "dan"]), st.none() | st.floats(0, 20), min_size=2),
    st.lists(st.tuples(st.sampled_from(["cyd", "dan"]), st.floats(0.1, 3)), max_size=3),
)
def test_an_adaptive_wait_is_never_longer_than_a_fixed_one(
    pays: dict[str, float | None], events: list[tuple[str, float]]
) -> None:
    adaptive, fixed = a_round(pays), a_round({"cyd": None, "dan": None})
    at = T + 4
    for panel in (adaptive, fixed):
        panel.handle(Answered("bob", YES, at))
    for member, later_s in events:
        at += later_s
        for panel in (adaptive, fixed):
            panel.handle(Answered(member, YES, at))
        assert adaptive.closed or not fixed.closed
    for panel in (adaptive, fixed):
        panel.handle(Ticked(T + 8))
        assert panel.closed


async def p50_s(straggler_s: float | None, known: CallStats, requests: int = 60) -> float:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    for _ in range(requests):
        members = {"ada": ScriptedMember(Answer("four"), delay_s=1.0), "bob": ScriptedMember(Answer("5"), delay_s=1.1)}
        if straggler_s is not None:
            members["cyd"] = ScriptedMember(Answer("six"), delay_s=straggler_s)
        members["judge"] = ScriptedMember(favouring("four"), delay_s=0.5)
        task, pool = scene(members, quorum=2, grace=1.0)
        began_at = loop.time()
        await fuse(task, pool, call_stats=known)
        took.append(loop.time() - began_at)
    return sorted(took)[len(took) // 2]


async def test_a_straggler_ten_times_slower_does_not_move_the_median() -> None:
    assert await p50_s(10.0, CallStats()) == pytest.approx(await p50_s(None, CallStats()))


async def test_one_that_is_a_little_slower_is_still_waited_for() -> None:
    assert await p50_s(1.3, CallStats()) == pytest.approx(1.8)


async def test_a_straggler_that_becomes_fast_is_found_out() -> None:
    known = CallStats()
    await p50_s(10.0, known)
    assert await p50_s(1.3, known, requests=10) == pytest.approx(1.6), "nobody knows yet"
    await asyncio.sleep(601)
    assert await p50_s(1.3, known) == pytest.approx(1.8)


async def test_what_was_not_waited_for_is_reported_and_a_fixed_grace_is_waited() -> None:
    known = CallStats()
    now = asyncio.get_running_loop().time()
    for _ in range(20):
        known.record("bob", "panel", 9.0, answered=True, at=now)
    members = {"ada": ScriptedMember(Answer("four"), delay_s=1.0), "bob": ScriptedMember(Answer("5"), delay_s=9.0)}
    task, pool = scene({**members, "judge": ScriptedMember()}, quorum=1, grace=2.0)
    result = await fuse(task, pool, call_stats=known)
    assert result.timings.panel_ms == pytest.approx(1000)
    assert result.saved is not None
    assert (result.saved.cut_short, result.saved.time_ms) == (("bob",), pytest.approx(2000))
    assert (result.saved.judge_calls, result.saved.unasked, result.saved.cost_usd) == (0, (), 0)
    fixed = replace(task.preset, policy=task.preset.policy.with_grace(2.0))
    result = await fuse(replace(task, preset=fixed), pool, call_stats=known)
    assert result.timings.panel_ms == pytest.approx(3000)
    assert result.saved is None
