"""Parts of a plan that are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusion.presets import Skip
from fusion.results import Fused, Mode
from fusion.runtime.runner import fuse
from fusion.testing import Answer, ScriptedMember
from tests.support.panels import favouring, scene


async def without(*skips: Skip, mode: Mode, **settings: object) -> tuple[Fused, dict[str, ScriptedMember]]:
    members = {
        "ada": ScriptedMember(Answer("four")),
        "bob": ScriptedMember(Answer("five")),
        "judge": ScriptedMember(favouring("five")),
    }
    task, pool = scene(members, mode, quorum=2, **settings)  # type: ignore[arg-type]
    return await fuse(replace(task, skips=frozenset(skips)), pool), members


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate"])
async def test_without_a_judge_the_most_trusted_candidate_stands(mode: Mode) -> None:
    result, members = await without("rebuttals", "judge", mode=mode)
    assert result.completion.text == "four"
    assert (result.judge, members["judge"].calls) == (None, [])
    assert result.degraded == "judge_skipped: no time for it; the answer is ada's"
    assert result.dropped == ("rebuttals", "judge")


async def test_without_rebuttals_a_debate_is_decided_at_once() -> None:
    result, members = await without("rebuttals", mode="debate", decision="best-of", rounds=3)
    assert (len(members["ada"].calls), len(members["judge"].calls)) == (1, 1)
    assert result.completion.text == "five"
    assert (result.degraded, result.dropped) == (None, ("rebuttals",))
