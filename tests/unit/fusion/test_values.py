"""The values: frozen, picklable, and right about what they add up to."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from typing import Any

import pytest

import fusion.chat
import fusion.member
import fusion.presets
import fusion.pricing
import fusion.progress
import fusion.results
import fusion.runtime.round_state
import fusion.steps
from fusion.chat import (
    Call,
    Completion,
    Delta,
    ImagePart,
    JsonSchema,
    Message,
    Request,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from fusion.member import MemberProfile
from fusion.presets import Policy, Preset, Task
from fusion.pricing import Price
from fusion.progress import CandidateEnded, CandidateGrew, JudgeAsked, PanelConvened
from fusion.results import Candidate, Failure, Fused, Timings, Verdict

CALL = ToolCall("call_1", "weather", '{"city":  "Oslo"}')
COMPLETION = Completion("four", (CALL,), "tool_calls", Usage(1, 2))
REQUEST = Request(
    (
        Message("system", "Be brief."),
        Message("user", (TextPart("What?"), ImagePart("https://example.org/cat.png", "low"))),
        Message("assistant", tool_calls=(CALL,)),
        Message("tool", "rain", name="weather", tool_call_id="call_1"),
    ),
    Sampling(0.1, 0.2, 3, ("x",), 4, 0.5, 0.6),
    (Tool("weather", "says it", {"type": "object"}, strict=True),),
    "function:weather",
    False,
    JsonSchema("answer", {"type": "object"}, strict=True),
)
CANDIDATE = Candidate("ada", "answered", 12.5, 1, COMPLETION, None, 0.25)
VERDICT = Verdict("judge", "ada", {"ada": 9.0, "bob": None}, "so", ("bob", "ada"), 7)
PRESET = Preset("fusion/x", "debate", ("ada", "bob"), ("judge",), Policy(2, 0.1, 9.0), 2, "best-of")
PROFILE = MemberProfile("ada", "here", "big", Sampling(temperature=1.0), "Be nice.", Price(1.0, 2.0))
VALUES: list[Any] = [
    REQUEST,
    Call("ada", REQUEST, 1.5, "judge"),
    COMPLETION,
    Delta("x", (ToolCallDelta(0, "call_1", "weather", "{"),)),
    CANDIDATE,
    Candidate("bob", "failed", 1.0, failure=Failure("overloaded", "busy", True, 2.5, Usage(1, 2))),
    VERDICT,
    Fused(COMPLETION, "merge", "judge", (CANDIDATE,), VERDICT, Timings(1.0, 2.0, None), 0.1, Usage(3, 4), None, "why"),
    PRESET,
    PROFILE,
    Task(PRESET, REQUEST, {"ada": PROFILE}, 7),
    PanelConvened(("ada",), 0),
    CandidateGrew("ada", 0, Delta("x")),
    CandidateEnded(CANDIDATE),
    JudgeAsked("judge"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_survive_a_pickle_round_trip(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


STATEFUL = {"Round"}


@pytest.mark.parametrize(
    "module",
    [
        fusion.pricing,
        fusion.member,
        fusion.steps,
        fusion.presets,
        fusion.progress,
        fusion.results,
        fusion.runtime.round_state,
        fusion.chat,
    ],
    ids=lambda module: module.__name__,
)
def test_every_value_is_frozen_and_has_slots(module: Any) -> None:
    classes = [
        value
        for name, value in inspect.getmembers(module, inspect.isclass)
        if value.__module__ == module.__name__ and dataclasses.is_dataclass(value) and name not in STATEFUL
    ]
    assert classes
    for value in classes:
        assert value.__dataclass_params__.frozen, value
        assert "__slots__" in vars(value), value


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        COMPLETION.text = "five"


def test_sampling_over_a_base_fills_in_what_is_open() -> None:
    base = Sampling(temperature=0.7, max_tokens=100, stop=("a",))
    assert Sampling().over(base) == base
    assert Sampling(temperature=0.0, top_p=0.9).over(base) == Sampling(0.0, 0.9, 100, ("a",))
    assert Sampling(max_tokens=5).over(Sampling()) == Sampling(max_tokens=5)


def test_a_messages_text_is_its_text_parts() -> None:
    assert Message("user", "What?").text == "What?"
    assert Message("user", (TextPart("a"), ImagePart("x"), TextPart("b"))).text == "a\nb"
    assert Message("assistant").text == ""


def test_usage_adds_up() -> None:
    assert Usage(1, 2) + Usage(10, 20) == Usage(11, 22)
    assert Usage(1, 2, 3) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 40)
    assert Usage(1, 2, None, 0) + Usage() == Usage(1, 2, None, 0)


@pytest.mark.parametrize(
    ("quorum", "panel_size", "expected"),
    [(None, 1, 1), (None, 2, 1), (None, 3, 2), (None, 4, 2), (2, 3, 2), (5, 3, 3), (0, 3, 1), (-1, 3, 1)],
)
def test_the_quorum_is_half_of_the_panel_unless_said_otherwise(
    quorum: int | None, panel_size: int, expected: int
) -> None:
    assert Policy(quorum).quorum_of(panel_size) == expected
