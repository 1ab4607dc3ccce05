"""Juries, rubrics and self-preference: several judges at once, several criteria, and judges among their kin."""

from __future__ import annotations

import asyncio
import json

import pytest

from fusion.chat import Call
from fusion.errors import MemberUnavailable
from fusion.judging.kinship import family_of, kin
from fusion.judging.verdict import parse_verdict, verdict_schema
from fusion.member import MemberProfile
from fusion.presets import Criterion, weighted
from fusion.results import Kin
from fusion.testing import Answer, Fail, Hang, Reply, ScriptedMember
from tests.support.panels import favouring, fused, shown_answers


def panel(**texts: str) -> dict[str, ScriptedMember]:
    return {name: ScriptedMember(Answer(text), delay_s=1) for name, text in texts.items()}


def scoring(**scores: float | None) -> ScriptedMember:
    """A judge that gives each answer the score of its text; None leaves it out."""

    def verdict(call: Call) -> str:
        given = {label: scores[text] for label, text in shown_answers(call).items() if scores[text] is not None}
        return json.dumps({"reason": "so", "scores": given})

    return ScriptedMember(Reply(verdict))


PANEL = panel(ada="four", bob="five", cyd="six")


# --- juries -----------------------------------------------------------------------------------------------------------


async def test_a_jury_counts_ranks_and_not_how_high_a_judge_scores() -> None:
    judges = {
        "mild": scoring(four=10, five=1, six=0),
        "second": scoring(four=2, five=3, six=1),
        "third": scoring(four=5, five=6, six=4),
    }
    result = await fused({**PANEL, **judges}, judges=tuple(judges), quorum=3, jury=True, both_orders=True)
    verdict = result.verdict
    assert verdict is not None
    assert verdict.jury is not None
    assert result.completion.text == "five"
    assert verdict.jury.points == {"ada": 4.0, "bob": 5.0, "cyd": 0.0}
    assert verdict.scores["ada"] == pytest.approx(17 / 3)
    assert (verdict.judge, result.judge) == ("mild, second, third",) * 2
    assert (verdict.agreed, verdict.tie_broken_by, result.degraded) == (False, None, None)
    assert [each.winner for each in verdict.jury.verdicts] == ["ada", "bob", "bob"]
    assert [len(judge.calls) for judge in judges.values()] == [2, 2, 2]
    assert [len(member.calls) for member in PANEL.values()] == [1, 1, 1]


async def test_a_judge_whose_orders_disagree_has_no_say_about_the_two() -> None:
    def first_shown(call: Call) -> str:
        scores = {label: 9 - place for place, label in enumerate(shown_answers(call))}
        return json.dumps({"reason": "", "scores": scores})

    judges = {"biased": ScriptedMember(Reply(first_shown)), "honest": scoring(four=1, five=2)}
    for seed in range(4):
        members = {**panel(ada="four", bob="five"), **judges}
        result = await fused(members, judges=tuple(judges), quorum=2, jury=True, both_orders=True, seed=seed)
        assert result.verdict is not None
        assert result.verdict.jury is not None
        assert result.verdict.winner == "bob"
        assert result.verdict.jury.points == {"ada": 0.5, "bob": 1.5}


async def test_equal_points_go_by_the_scores_and_then_by_trust() -> None:
    for other, winner, by in ((scoring(four=3, five=4), "ada", "scores"), (scoring(four=1, five=9), "ada", "trust")):
        judges = {"one": scoring(four=9, five=1), "other": other}
        result = await fused({**panel(ada="four", bob="five"), **judges}, judges=tuple(judges), quorum=2, jury=True)
        assert result.verdict is not None
        assert (result.verdict.winner, result.verdict.tie_broken_by) == (winner, by)


async def test_judges_without_a_verdict_abstain_and_the_others_decide() -> None:
    judges = {
        "down": ScriptedMember(Fail(MemberUnavailable("refused"))),
        "mute": ScriptedMember(Answer("They are all fine.")),
        "well": scoring(four=None, five=2, six=1),
    }
    result = await fused({**PANEL, **judges}, judges=tuple(judges), quorum=3, jury=True)
    assert result.completion.text == "five"
    assert result.degraded == "jury_incomplete: down (unavailable), mute (invalid_verdict)"
    assert result.verdict is not None
    assert result.verdict.jury is not None
    assert result.verdict.jury.abstained == {"down": "unavailable", "mute": "invalid_verdict"}


async def test_a_hanging_judge_holds_the_others_up_for_a_grace_only() -> None:
    began_at = asyncio.get_running_loop().time()
    judges = {name: ScriptedMember(favouring("five"), delay_s=2) for name in ("one", "two")}
    members = {**PANEL, **judges, "hangs": ScriptedMember(Hang())}
    result = await fused(members, judges=(*judges, "hangs"), quorum=3, jury=True, grace=0.5)
    assert asyncio.get_running_loop().time() - began_at == pytest.approx(1 + 2 + 1)
    assert result.completion.text == "five"
    assert result.degraded == "jury_incomplete: hangs (timeout)"
    assert members["hangs"].cancelled == 1


async def test_when_no_judge_of_a_jury_has_a_verdict_the_most_trusted_candidate_stands() -> None:
    judges = {name: ScriptedMember(Answer("I cannot say.")) for name in ("one", "two")}
    result = await fused({**PANEL, **judges}, judges=tuple(judges), quorum=3, jury=True)
    assert result.completion.text == "four"
    assert result.degraded == "judge_failed: one (invalid_verdict), two (invalid_verdict); the answer is ada's"


# --- rubrics ----------------------------------------------------------------------------------------------------------

RUBRIC = (Criterion("correct", 3.0, "is it true"), Criterion("brief", 1.0))


def by_criteria(**scores: tuple[float, float]) -> ScriptedMember:
    def verdict(call: Call) -> str:
        given = {
            label: dict(zip(("correct", "brief"), scores[text], strict=True))
            for label, text in shown_answers(call).items()
        }
        return json.dumps({"reason": "so", "scores": given})

    return ScriptedMember(Reply(verdict))


async def test_a_rubric_is_scored_criterion_by_criterion_and_weighed() -> None:
    judge = by_criteria(four=(8, 4), five=(5, 10))
    members = {**panel(ada="five", bob="four"), "judge": judge}
    result = await fused(members, quorum=2, rubric=RUBRIC, both_orders=True)
    assert result.verdict is not None
    assert result.completion.text == "four"
    assert result.verdict.scores == {"bob": 7.0, "ada": 6.25}
    assert result.verdict.criteria == {
        "bob": {"correct": 8.0, "brief": 4.0},
        "ada": {"correct": 5.0, "brief": 10.0},
    }
    asked = judge.calls[0].request
    assert "correct (is it true); brief" in asked.messages[0].text
    assert asked.response_schema is not None
    assert asked.response_schema.schema["properties"]["scores"]["properties"]["A"]["required"] == ["correct", "brief"]


def test_what_a_rubric_takes() -> None:
    nested = '{"scores": {"A": {"Correct": 8, "brief": "4/10", "x": 1}, "B": {"correct": 2}}}'
    ruling = parse_verdict(nested, ("A", "B"), RUBRIC)
    assert ruling.scores == {"A": 7.0, "B": 2.0}
    assert ruling.criteria == {"A": {"correct": 8.0, "brief": 4.0}, "B": {"correct": 2.0, "brief": None}}
    assert parse_verdict('{"scores": {"A": 8, "B": 3}}', ("A", "B"), RUBRIC).scores == {"A": 8.0, "B": 3.0}
    assert parse_verdict('{"A": {"correct": 8}, "B": {"brief": 3}}', ("A", "B"), RUBRIC).scores == {"A": 8.0, "B": 3.0}
    listed = '{"scores": [{"label": "A", "correct": 8, "brief": 8}, {"label": "B", "correct": 1, "brief": 1}]}'
    assert parse_verdict(listed, ("A", "B"), RUBRIC).scores == {"A": 8.0, "B": 1.0}


def test_a_criterion_without_a_score_has_no_weight() -> None:
    assert weighted({"correct": 4.0, "brief": None}, RUBRIC) == 4.0
    assert weighted({}, RUBRIC) is None


def test_the_schema_of_a_rubric_is_closed() -> None:
    scores = verdict_schema(("A",), RUBRIC).schema["properties"]["scores"]["properties"]["A"]
    assert scores["additionalProperties"] is False
    assert scores["properties"]["brief"] == {"type": "integer", "minimum": 0, "maximum": 10}


# --- self-preference --------------------------------------------------------------------------------------------------


def model(name: str, model: str, backend: str | None = None, family: str | None = None) -> MemberProfile:
    return MemberProfile(name, backend or name, model, family=family)


FAMILIES = {
    "mistralai/Mixtral-8x22B-Instruct-v0.1": "mistral",
    "open-mistral-nemo": "mistral",
    "gpt-4o-mini": "gpt",
    "openai/o3": "gpt",
    "anthropic/claude-sonnet": "claude",
    "google/gemini-pro": "gemini",
    "google/gemma-2-9b": "gemini",
    "meta-llama/Llama-3.3-70B-Instruct": "llama",
    "Qwen/Qwen2.5-72B-Instruct": "qwen",
    "deepseek/DeepSeek-R1-Distill-Llama-70B": "deepseek",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "smollm",
    "microsoft/phi-4": "phi",
    "nobody/has-heard-of-it": None,
    "graphite-7b": None,
}


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
def test_a_models_family_is_told_by_its_name(name: str, family: str | None) -> None:
    assert family_of(model("it", name)) == family
    assert family_of(model("it", name, family="ours")) == "ours"


def test_kin_have_the_closest_bond() -> None:
    judge = model("judge", "mistral-large", "api")
    others = [
        judge,
        model("twin", "mistral-large", "elsewhere"),
        model("cousin", "Mixtral-8x22B", "own"),
        model("neighbour", "gpt-4o", "api"),
        model("stranger", "claude-sonnet", "other"),
        model("unknown", "it", "third"),
    ]
    assert kin(judge, others) == (
        Kin("judge", "judge", "member"),
        Kin("twin", "judge", "model"),
        Kin("cousin", "judge", "family"),
        Kin("neighbour", "judge", "backend"),
    )
    assert kin(model("it", "unheard-of"), [model("other", "of-it")]) == ()


async def test_a_verdict_names_the_judges_kin() -> None:
    profiles = {
        "ada": model("ada", "gpt-4o"),
        "bob": model("bob", "claude-opus"),
        "judge": model("judge", "gpt-4.1"),
    }
    members = {**panel(ada="four", bob="five"), "judge": ScriptedMember(favouring("five"))}
    result = await fused(members, quorum=2, profiles=profiles, both_orders=True)
    assert result.verdict is not None
    assert result.verdict.kin == (Kin("ada", "judge", "family"),)


async def test_a_verdict_without_kin_names_none() -> None:
    profiles = {name: MemberProfile(name, name, name) for name in ("ada", "bob", "judge")}
    members: dict[str, ScriptedMember] = {**panel(ada="four", bob="five"), "judge": ScriptedMember(favouring("five"))}
    result = await fused(members, quorum=2, profiles=profiles)
    assert result.verdict is not None
    assert result.verdict.kin == ()
