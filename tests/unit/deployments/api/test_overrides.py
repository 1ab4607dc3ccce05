"""What presets and requests may say about judging, and how it comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.config.presets import PresetConfig
from deployments.api.chat_request import parse_chat
from deployments.api.chat_response import fusion_body
from deployments.api.models import Catalogue
from fusion.chat import Call
from fusion.errors import InvalidRequest
from fusion.member import MemberProfile
from fusion.presets import Criterion, Preset
from fusion.testing import Answer, Hang, Reply, ScriptedMember
from tests.support.panels import favouring, fused
from tests.unit.fusion.judging.test_analysis import Judge

BEST_OF = {"mode": "best-of", "panel": ["ada", "bob"], "judge": ["cyd", "dot"]}
MERGE = {"mode": "merge", "panel": ["ada", "bob"], "judge": ["cyd", "dot"]}
NAMES = ("ada", "bob", "cyd", "dot")
CATALOGUE = Catalogue(
    {
        "fusion/strict": Preset("fusion/strict", "best-of", ("ada", "bob"), ("cyd", "dot")),
        "fusion/merge": Preset("fusion/merge", "merge", ("ada", "bob"), ("cyd", "dot"), analysis="before"),
    },
    {name: MemberProfile(name, "api", name) for name in NAMES},
    "fusion/merge",
)


def preset_of(model: str, **options: Any) -> Preset:
    body = {"model": model, "messages": [{"role": "user", "content": "?"}], "fusion": options}
    return CATALOGUE.preset_of(parse_chat(json.dumps(body).encode()))


def test_what_a_file_says_of_judging_becomes_the_presets() -> None:
    rubric = [{"name": "correct", "weight": 3, "description": "is it true"}, {"name": "brief"}]
    config = PresetConfig.model_validate({**BEST_OF, "jury": True, "rubric": rubric, "judge_timeout_s": 5})
    preset = config.preset("fusion/strict")
    assert preset.rubric == (Criterion("correct", 3.0, "is it true"), Criterion("brief"))
    assert (preset.jury, preset.judge_timeout_s, preset.analysis, preset.no_harm) == (True, 5.0, "off", False)
    weights = PresetConfig.model_validate({**BEST_OF, "rubric": {"correct": 3, "brief": 0.5}}).preset("")
    assert weights.rubric == (Criterion("correct", 3.0), Criterion("brief", 0.5))
    merge = PresetConfig.model_validate({**MERGE, "no_harm": True, "jury": True, "analysis": False}).preset("")
    assert (merge.no_harm, merge.jury, merge.analysis) == (True, True, "off")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({**BEST_OF, "judge": "cyd", "jury": True}, "at least two judges"),
        ({**MERGE, "jury": True}, "jury belongs to picking"),
        ({**MERGE, "rubric": {"correct": 1}}, "rubric belongs to picking"),
        ({**BEST_OF, "no_harm": True}, "no_harm belongs to merging"),
        ({**BEST_OF, "rubric": {"correct": 0}}, "greater than 0"),
        ({**BEST_OF, "rubric": {'a"b': 1}}, "pattern"),
        ({**BEST_OF, "rubric": [{"name": "a"}, {"name": "A"}]}, "the same name"),
        ({**BEST_OF, "rubric": {str(number): 1 for number in range(9)}}, "at most 8"),
        ({**MERGE, "analysis": "after"}, "'beside'"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PresetConfig.model_validate(wrong)


def test_a_request_changes_it() -> None:
    preset = preset_of("fusion/strict", jury=True, rubric={"correct": 2}, include=["analysis"])
    assert (preset.jury, preset.rubric) == (True, (Criterion("correct", 2.0),))
    assert (preset.analysis, preset.awaits_analysis) == ("beside", True)
    assert preset_of("fusion/merge", include=["analysis"]).analysis == "before"
    assert preset_of("fusion/merge", analysis="off").analysis == "off"
    assert preset_of("fusion/merge", no_harm=True).no_harm
    assert not preset_of("fusion/merge").awaits_analysis


@pytest.mark.parametrize(
    ("model", "options", "param"),
    [
        ("fusion/merge", {"jury": True}, "fusion.jury"),
        ("fusion/strict", {"jury": True, "judge": "cyd"}, "fusion.jury"),
        ("fusion/merge", {"rubric": {"correct": 1}}, "fusion.rubric"),
        ("fusion/strict", {"no_harm": True}, "fusion.no_harm"),
        ("fusion/strict", {"rubric": {"correct": -1}}, "fusion.rubric.correct"),
        ("fusion/strict", {"analysis": "after"}, "fusion.analysis"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(model: str, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        preset_of(model, **options)
    assert caught.value.param == param


async def test_no_judge_has_longer_than_its_timeout() -> None:
    members = {"ada": ScriptedMember(Answer("four")), "bob": ScriptedMember(Answer("five"))}
    slow, deputy = ScriptedMember(Hang()), ScriptedMember(favouring("five"))
    result = await fused(
        {**members, "slow": slow, "deputy": deputy}, judges=("slow", "deputy"), quorum=2, judge_timeout_s=3
    )
    assert result.completion.text == "five"
    assert result.degraded == "judge_replaced: slow (timeout)"
    assert result.timings.judge_ms == pytest.approx(3000)
    assert slow.calls[0].timeout_s == 3


async def test_a_verdict_and_an_analysis_are_told() -> None:
    def by_criterion(call: Call) -> str:
        return '{"reason": "so", "scores": {"A": {"correct": 8}, "B": {"correct": 2}}}'

    members = {"ada": ScriptedMember(Answer("four")), "bob": ScriptedMember(Answer("five"))}
    one, other = ScriptedMember(Reply(by_criterion)), ScriptedMember(Answer("no idea"))
    result = await fused(
        {**members, "one": one, "other": other},
        judges=("one", "other"),
        quorum=2,
        jury=True,
        rubric=(Criterion("correct"),),
    )
    verdict = json.loads(json.dumps(fusion_body(result, "fusion/test", ())))["verdict"]
    first, second = verdict["order"]
    assert verdict["criteria"] == {first: {"correct": 8}, second: {"correct": 2}}
    assert verdict["jury"]["points"] == {first: 1, second: 0}
    assert verdict["jury"]["abstained"] == {"other": "invalid_verdict"}
    assert verdict["kin"] == [
        {"member": first, "judge": "one", "bond": "backend"},
        {"member": second, "judge": "one", "bond": "backend"},
    ]
    assert [each["judge"] for each in verdict["jury"]["verdicts"]] == ["one"]

    result = await fused({**members, "judge": Judge()}, "merge", quorum=2, analysis="before", no_harm=True)
    body = json.loads(json.dumps(fusion_body(result, "fusion/test", ())))
    assert body["analysis"]["judge"] == "judge"
    assert body["analysis"]["contradictions"][0]["stances"][0] == {"text": "four", "members": ["ada"]}
    assert set(body["no_harm"]) == {"best", "returned", "verdict", "failures"}
