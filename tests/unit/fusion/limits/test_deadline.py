"""What is commanded for every deadline, by what is known of the members."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fusion.limits.call_stats import CallStats
from fusion.limits.deadline import parts_to_skip
from fusion.presets import DecisionMode, Skip
from fusion.results import Fused, Mode
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Hang, ScriptedMember
from tests.support.panels import favouring, scene

PANEL_S, REBUTTAL_S, JUDGE_S, SLOW_JUDGE_S = 2.0, 3.0, 4.0, 5.0
"""Of twenty verdicts one took longer, so that two at once take longer within nine in ten."""


def call_stats(at: float, *, judge: bool = True) -> CallStats:
    known = CallStats()
    for index in range(20):
        for member, panel_s in (("ada", 1.0), ("bob", PANEL_S), ("cyd", 30.0)):
            known.record(member, "panel", panel_s, answered=True, at=at)
            known.record(member, "rebuttal", REBUTTAL_S, answered=True, at=at)
        if judge:
            verdict_s = SLOW_JUDGE_S if index in (3, 4) else JUDGE_S
            known.record("judge", "judge", verdict_s, answered=True, at=at)
            known.record("judge", "write", JUDGE_S, answered=True, at=at)
    return known


@pytest.mark.parametrize(
    ("mode", "decision", "deadline_s", "dropped"),
    [
        ("best-of", "merge", 7.1, ()),
        ("best-of", "merge", 6.9, ("second_order",)),
        ("best-of", "merge", 6.1, ("second_order",)),
        ("best-of", "merge", 5.9, ("second_order", "judge")),
        ("best-of", "merge", 0.1, ("second_order", "judge")),
        ("merge", "merge", 6.1, ()),
        ("merge", "merge", 5.9, ("judge",)),
        ("debate", "merge", 12.1, ()),
        ("debate", "merge", 11.9, ("rebuttals",)),
        ("debate", "merge", 6.1, ("rebuttals",)),
        ("debate", "merge", 5.9, ("rebuttals", "judge")),
        ("debate", "best-of", 13.1, ()),
        ("debate", "best-of", 12.9, ("second_order",)),
        ("debate", "best-of", 11.9, ("second_order", "rebuttals")),
        ("debate", "best-of", 5.9, ("second_order", "rebuttals", "judge")),
        ("auto", "best-of", 6.9, ("second_order",)),
        ("auto", "merge", 5.9, ("judge",)),
    ],
)
async def test_a_short_deadline_drops_the_second_order_then_the_debate_then_the_judge(
    mode: Mode, decision: DecisionMode, deadline_s: float, dropped: tuple[Skip, ...]
) -> None:
    members = {name: ScriptedMember() for name in ("ada", "bob", "cyd", "judge")}
    task, _ = scene(members, mode, quorum=2, deadline_s=deadline_s, rounds=2, decision=decision)
    preset = replace(task.preset, both_orders=True)
    assert parts_to_skip(preset, deadline_s, call_stats(0.0), 0.0) == frozenset(dropped)
    one_order = parts_to_skip(task.preset, deadline_s, call_stats(0.0), 0.0)
    assert one_order <= frozenset(dropped) - {"second_order"}


def test_nothing_is_dropped_on_account_of_what_is_not_known() -> None:
    task, _ = scene({name: ScriptedMember() for name in ("ada", "bob", "cyd", "judge")}, quorum=2, deadline_s=1.0)
    assert parts_to_skip(task.preset, 1.0, CallStats(), 0.0) == frozenset()
    assert parts_to_skip(task.preset, 1.0, call_stats(0.0, judge=False), 0.0) == frozenset()
    assert parts_to_skip(replace(task.preset, panel=("ada",)), 0.1, call_stats(0.0), 0.0) == frozenset()


async def run(mode: Mode, deadline_s: float, rounds: int = 1) -> tuple[Fused, dict[str, ScriptedMember], float]:
    """What is really asked, and how long it takes, when members take the time that is known of them."""
    loop = asyncio.get_running_loop()
    members = {
        "ada": ScriptedMember(Answer("four"), delay_s=1.0),
        "bob": ScriptedMember(Answer("five"), delay_s=PANEL_S),
        "judge": ScriptedMember(favouring("five"), delay_s=JUDGE_S),
    }
    task, pool = scene(members, mode, quorum=2, deadline_s=deadline_s, rounds=rounds)
    began_at = loop.time()
    result = await fuse(task, pool, call_stats=call_stats(began_at))
    return result, members, loop.time() - began_at


@pytest.mark.parametrize(
    ("mode", "deadline_s", "asked", "took_s", "dropped"),
    [
        ("merge", 6.5, [1, 1, 1], 6.0, ()),
        ("merge", 5.0, [1, 1, 0], 2.0, ("judge",)),
        ("debate", 10.0, [2, 2, 1], 8.0, ()),
        ("debate", 8.0, [1, 1, 1], 6.0, ("rebuttals",)),
        ("debate", 4.0, [1, 1, 0], 2.0, ("rebuttals", "judge")),
        ("auto", 4.0, [1, 1, 0], 2.0, ("judge",)),
    ],
)
async def test_what_is_commanded_for_a_deadline(
    mode: Mode, deadline_s: float, asked: list[int], took_s: float, dropped: tuple[Skip, ...]
) -> None:
    result, members, took = await run(mode, deadline_s)
    assert [len(member.calls) for member in members.values()] == asked
    assert took == pytest.approx(took_s)
    assert result.dropped == dropped
    assert result.completion.text
    assert (result.degraded is None) == ("judge" not in dropped)


async def test_without_a_judge_to_keep_time_for_stragglers_have_all_of_it() -> None:
    members = {"ada": ScriptedMember(Answer("four"), delay_s=1.0), "bob": ScriptedMember(Hang())}
    task, pool = scene({**members, "judge": ScriptedMember()}, quorum=1, grace=9.0, deadline_s=4.0)
    known = call_stats(asyncio.get_running_loop().time())
    for _ in range(20):
        known.record("bob", "panel", 1.0, answered=True, at=asyncio.get_running_loop().time())
    fixed = replace(task.preset, policy=task.preset.policy.with_grace(9.0))
    result = await fuse(replace(task, preset=fixed), pool, call_stats=known)
    assert result.dropped == ("judge",)
    assert result.timings.panel_ms == pytest.approx(4000)


async def test_judges_that_are_never_in_time_are_learnt_about_and_then_not_asked() -> None:
    known = CallStats()
    outcomes: list[tuple[int, tuple[str, ...]]] = []
    for _ in range(10):
        members = {name: ScriptedMember(Answer(name), delay_s=1.0) for name in ("ada", "bob")}
        judge = ScriptedMember(Hang())
        task, pool = scene({**members, "judge": judge}, "merge", quorum=2, deadline_s=5.0)
        result = await fuse(task, pool, call_stats=known)
        outcomes.append((len(judge.calls), result.dropped))
    assert outcomes[:8] == [(1, ())] * 8
    assert outcomes[8:] == [(0, ("judge",))] * 2
