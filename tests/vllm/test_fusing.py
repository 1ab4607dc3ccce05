"""Fused answers from a real engine."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from statistics import median_low

import pytest

from fusion.chat import JsonSchema
from fusion.results import Fused, Mode
from fusion.runtime.runner import fuse
from fusion.structured.json_schema import compile_schema, follows
from tests.support.panels import Recorder
from tests.vllm.engines import Engine

_QUESTION = "What is the capital of France?"


async def _fused(engine: Engine, mode: Mode, watcher: Recorder | None = None, **settings: object) -> Fused:
    task, pool = engine.task(mode, _QUESTION, **settings)
    fused = await fuse(task, pool, watcher=watcher)
    assert {candidate.status for candidate in fused.candidates} == {"answered"}, fused.candidates
    assert fused.completion.text.strip()
    assert fused.degraded is None
    assert fused.judge == "judge"
    assert fused.usage.input_tokens > 0
    assert fused.usage.output_tokens > 0
    return fused


async def test_best_of_returns_the_winner_verbatim(smollm2: Engine) -> None:
    fused = await _fused(smollm2, "best-of")
    assert fused.verdict is not None
    assert None not in fused.verdict.scores.values()
    winner = next(candidate for candidate in fused.candidates if candidate.member == fused.verdict.winner)
    assert fused.completion == winner.completion
    assert fused.verdict.scores[winner.member] == max(score or 0 for score in fused.verdict.scores.values())


async def test_a_merge_streams_as_it_is_written(smollm2: Engine) -> None:
    watcher = Recorder(watches_candidates=True)
    fused = await _fused(smollm2, "merge", watcher)
    assert watcher.text == fused.completion.text
    assert len(watcher.deltas) > 1
    for candidate in fused.candidates:
        grown = f"{candidate.member} writes "
        assert any(line.startswith(grown) for line in watcher.story)
    assert watcher.story.index("judge is asked") < watcher.story.index(f"answer {watcher.deltas[0].text!r}")


@pytest.mark.parametrize("decision", ["merge", "best-of"])
async def test_a_debate_is_argued_and_decided(smollm2: Engine, decision: str) -> None:
    fused = await _fused(smollm2, "debate", decision=decision)
    assert (fused.verdict is not None) == (decision == "best-of")
    assert {candidate.round for candidate in fused.candidates} == {0, 1}
    usages = [candidate.completion.usage for candidate in fused.candidates if candidate.completion]
    spent = sum(usage.output_tokens for usage in usages if usage)
    assert fused.usage.output_tokens > spent, "the judge's tokens count too"


async def test_the_same_seed_draws_the_same_answer(smollm2: Engine) -> None:
    answers = [(await _fused(smollm2, "merge", temperature=0.0, max_tokens=8)).completion.text for _ in range(2)]
    assert answers[0] == answers[1]


CITY = JsonSchema(
    "city",
    {
        "type": "object",
        "properties": {
            "size": {"enum": ["small", "large", "vast"]},
            "age": {"type": "integer", "minimum": 0, "maximum": 9},
            "coastal": {"type": "boolean"},
            "about": {"type": "string", "minLength": 100, "maxLength": 140},
        },
        "required": ["size", "age", "coastal", "about"],
        "additionalProperties": False,
    },
)


async def test_json_answers_are_fused_field_by_field_and_follow_the_schema(smollm2: Engine) -> None:
    """What its grammar lets the small model write is voted on, and a long text is the judge's, under a grammar too."""
    task, pool = smollm2.task("merge", "Describe Lisbon as JSON.", max_tokens=400)
    task = replace(task, request=replace(task.request, response_schema=CITY))
    watcher = Recorder()
    fused = await fuse(task, pool, watcher=watcher)
    completions = {candidate.member: candidate.completion for candidate in fused.candidates if candidate.completion}
    whole = {name: each for name, each in completions.items() if each.finish_reason == "stop"}
    assert len(whole) > 1
    given = [json.loads(completion.text) for completion in whole.values()]
    validator = compile_schema(CITY.schema)
    assert all(follows(validator, value) for value in given)
    answer = json.loads(fused.completion.text)
    assert follows(validator, answer)
    assert watcher.text == fused.completion.text
    assert fused.degraded is None

    ages = [value["age"] for value in given]
    assert answer["age"] in (ages if len(ages) == 2 else [median_low(ages)])
    for name in ("size", "coastal"):
        votes = Counter(value[name] for value in given)
        assert answer[name] == max((value[name] for value in given), key=lambda said: votes[said])
    assert fused.assembly is not None
    assert fused.assembly.fell_back_to is None
    assert {left.member for left in fused.assembly.left_out} == completions.keys() - whole.keys()
    how = {field.path: field.how for field in fused.assembly.fields}
    differ = {f"/{name}" for name in CITY.schema["properties"] if len({value[name] for value in given}) > 1}
    assert how.keys() == differ, "every field on which candidates differ, and no other"
    assert (fused.judge == "judge") == (how.get("/about") == "judge")
    if "/about" not in how or how["/about"] == "vote":
        assert answer["about"] in [value["about"] for value in given]
    else:
        assert how["/about"] == "judge"
        assert "judge" in {spent.stage for spent in fused.stages}
