"""The analysis: what a judge model is asked, what is read in its words, and that it adds no waiting."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.ballot import blind
from fusion.chat import Call, Completion, Delta
from fusion.errors import MemberUnavailable
from fusion.judging.analysis import analysis_notes, analysis_request, read_analysis
from fusion.member import Emit
from fusion.results import Analysis, Contradiction, Failure, Fused, Mode, Point
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import QUESTION, Recorder, answered, favouring, fused, shown_answers


def written(call: Call) -> str:
    """An analysis of what the call shows: who says four, and who says something else."""
    shown = shown_answers(call)
    four = [label for label, text in shown.items() if "four" in text]
    others = [label for label in shown if label not in four]
    return json.dumps(
        {
            "consensus": [{"text": "It is a number.", "answers": list(shown)}],
            "contradictions": [
                {
                    "topic": "which number",
                    "stances": [{"text": "four", "answers": four}, {"text": "not four", "answers": others}],
                }
            ],
            "partial_coverage": [{"text": "They say why.", "answers": four}],
            "unique_insights": [{"text": "It is even.", "answers": four[:1]}],
            "blind_spots": ["The proof."],
        }
    )


WANTED = {
    "consensus": (Point("It is a number.", ("ada", "bob")),),
    "contradictions": (Contradiction("which number", (Point("four", ("ada",)), Point("not four", ("bob",)))),),
    "partial_coverage": (Point("They say why.", ("ada",)),),
    "unique_insights": (Point("It is even.", ("ada",)),),
    "blind_spots": ("The proof.",),
}


class Judge:
    """A judge model that scores, writes and analyses, each after its own time, and keeps the calls by kind."""

    def __init__(self, *, writes_s: float = 2.0, analyses_s: float = 1.0, analysis: str | None = None) -> None:
        self.times_s = {"analysis": analyses_s, "verdict": writes_s, "write": writes_s}
        self.analysis = analysis
        self.calls: dict[str, list[Call]] = {"analysis": [], "verdict": [], "write": []}
        self.cancelled: list[str] = []

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        schema = call.request.response_schema
        kind = schema.name if schema else "write"
        self.calls[kind].append(call)
        if kind == "write" and emit:
            emit(Delta("It "))
        try:
            await asyncio.sleep(self.times_s[kind])
        except asyncio.CancelledError:
            self.cancelled.append(kind)
            raise
        if kind == "write" and emit:
            emit(Delta("is four."))
        said = {
            "write": "It is four.",
            "verdict": favouring("four").of(call),
            "analysis": self.analysis or written(call),
        }
        return Completion(said[kind])


async def asked(judge: object, mode: Mode = "merge", **more: Any) -> tuple[Fused, float]:
    """A panel of two that takes a second, and what the judge made of it after how long."""
    began_at = asyncio.get_running_loop().time()
    members = {"ada": ScriptedMember(Answer("four"), delay_s=1), "bob": ScriptedMember(Answer("five"), delay_s=1)}
    result = await fused({**members, "judge": judge}, mode, quorum=2, **more)  # type: ignore[dict-item]
    return result, asyncio.get_running_loop().time() - began_at - 1


@pytest.mark.parametrize("mode", ["merge", "best-of", "debate"])
async def test_beside_the_decision_it_adds_no_waiting(mode: Mode) -> None:
    result, took_s = await asked(Judge(), mode, analysis="beside", rounds=0)
    assert took_s == pytest.approx(2)
    assert result.completion.text in ("four", "It is four.")
    assert result.analysis == Analysis("judge", **WANTED)
    assert {spent.stage: spent.calls for spent in result.stages} == {"panel": 2, "judge": 1, "analysis": 1}


async def test_one_that_is_late_is_given_up_unless_a_client_asked_for_it() -> None:
    judge = Judge(analyses_s=5)
    result, took_s = await asked(judge, analysis="beside")
    assert took_s == pytest.approx(2)
    assert result.analysis == Analysis("judge", error="timeout")
    assert judge.cancelled == ["analysis"]
    result, took_s = await asked(Judge(analyses_s=5), analysis="beside", awaits_analysis=True)
    assert took_s == pytest.approx(5)
    assert result.analysis == Analysis("judge", **WANTED)


async def test_a_stream_is_not_held_back_by_it() -> None:
    watcher = Recorder()
    request = asyncio.create_task(asked(Judge(analyses_s=9), analysis="beside", awaits_analysis=True, watcher=watcher))
    await asyncio.sleep(3.5)
    assert watcher.text == "It is four."
    assert not request.done()
    result, took_s = await request
    assert took_s == pytest.approx(9)
    assert result.analysis is not None
    assert result.analysis.error is None


async def test_one_that_never_comes_is_waited_for_half_of_the_time() -> None:
    result, took_s = await asked(Judge(analyses_s=1000), analysis="beside", awaits_analysis=True, deadline_s=21)
    assert took_s == pytest.approx(10)
    assert result.completion.text == "It is four."
    assert result.analysis == Analysis("judge", error="timeout")
    assert result.degraded is None


async def test_before_the_decision_the_one_who_writes_is_shown_it() -> None:
    judge = Judge()
    result, took_s = await asked(judge, analysis="before")
    assert took_s == pytest.approx(3)
    assert result.analysis == Analysis("judge", **WANTED)
    prompt = "\n".join(message.text for message in judge.calls["write"][0].request.messages)
    labels = {text: label for label, text in shown_answers(judge.calls["write"][0]).items()}
    assert f"They differ on which number:\n- four ({labels['four']})\n- not four ({labels['five']})" in prompt
    assert "All of them miss:\n- The proof." in prompt
    assert "ada" not in prompt


async def test_before_it_the_next_judge_is_asked_when_one_gives_none() -> None:
    down = ScriptedMember(Fail(MemberUnavailable("refused")))
    members = {"ada": ScriptedMember(Answer("four")), "bob": ScriptedMember(Answer("five"))}
    result = await fused(
        {**members, "down": down, "judge": Judge()},
        "merge",
        judges=("down", "judge"),
        quorum=2,
        analysis="before",
    )
    assert result.analysis == Analysis("judge", **WANTED)
    assert result.completion.text == "It is four."


@pytest.mark.parametrize("when", ["beside", "before"])
async def test_one_that_cannot_be_read_changes_nothing_about_the_answer(when: str) -> None:
    result, _ = await asked(Judge(analysis="They mostly agree."), analysis=when)
    assert result.completion.text == "It is four."
    assert result.degraded is None
    assert result.analysis == Analysis("judge", error="invalid_analysis")


async def test_where_no_judge_is_asked_there_is_none() -> None:
    judge = Judge()
    members = {"ada": ScriptedMember(Answer("four")), "judge": judge}
    result = await fused(members, analysis="beside", awaits_analysis=True)
    assert result.analysis is None
    assert judge.calls["analysis"] == []


# --- asking and reading -----------------------------------------------------------------------------------------------

BALLOT = blind([answered("ada", "four"), answered("bob", "five")], QUESTION, 1)


def test_it_is_asked_blind_and_by_schema() -> None:
    request = analysis_request(QUESTION, BALLOT)
    assert request.sampling.temperature == 0.0
    assert request.response_schema is not None
    assert list(request.response_schema.schema["properties"]) == list(WANTED)
    prompt = "\n".join(message.text for message in request.messages)
    assert "ada" not in prompt
    assert BALLOT.fence in request.messages[0].text


@pytest.mark.parametrize(
    ("completion", "error"),
    [
        (Completion("no"), "invalid_analysis"),
        (Completion('{"consensus": [{"te', finish_reason="length"), "cut_off"),
        (Completion('{"x": 1}'), "invalid_analysis"),
        (Failure("timeout", "late"), "timeout"),
    ],
)
def test_what_is_none_says_why(completion: Completion | Failure, error: str) -> None:
    assert read_analysis(completion, BALLOT, "judge") == Analysis("judge", error=error)


def test_what_is_not_in_its_shape_is_left_out() -> None:
    found = {
        "consensus": ["plain", {"text": "x", "answers": ["answer a", "Z", 3]}, 7, {"answers": ["A"]}],
        "contradictions": [{"topic": "t", "stances": "none"}, {"stances": []}, "x"],
        "blind_spots": {"a": 1},
    }
    analysis = read_analysis(Completion(f"Here: {json.dumps(found)}"), BALLOT, "judge")
    first = BALLOT.candidates[0].member
    assert analysis == Analysis("judge", consensus=(Point("plain", ()), Point("x", (first,))))


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from([*WANTED, "text", "answers", "topic", "stances"]), x),
        max_leaves=10,
    )
)
def test_any_json_gives_an_analysis(value: Any) -> None:
    analysis = read_analysis(Completion(json.dumps(value) or "x"), BALLOT, "judge")
    json.dumps(analysis_notes(analysis, BALLOT)).encode()
