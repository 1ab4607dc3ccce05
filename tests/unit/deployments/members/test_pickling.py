"""What crosses between processes comes out as it went in, and small."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from deployments.members.pickling import CROSSING, LayoutMismatch, layout, packed, restored, unpacked
from fusion.chat import (
    Call,
    Completion,
    Delta,
    ImagePart,
    JsonSchema,
    Message,
    Reasoning,
    Request,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from fusion.errors import MemberTimeout

_CALL = Call(
    "ada",
    Request(
        (
            Message("user", (TextPart("What is this?"), ImagePart("https://example.org/a.png", "low")), name="eve"),
            Message("assistant", tool_calls=(ToolCall("1", "look", '{"at": "it"}'),)),
            Message("tool", "a cat", tool_call_id="1"),
        ),
        Sampling(0.5, stop=("\n",), reasoning=Reasoning("low")),
        (Tool("look", "Looks.", {"type": "object"}, strict=True),),
        "required",
        response_schema=JsonSchema("animal", {"type": "string"}),
    ),
    12.5,
    "judge",
    (("traceparent", "00-1-2-01"),),
)
_ANSWER = Completion("A cat.", (ToolCall("2", "pet", "{}"),), "tool_calls", Usage(10, 4, 2, None), "bob", "Whiskers.")
_PIECES = (Delta("A "), Delta("", (ToolCallDelta(0, "2", "pet"),), "Whisk"))


@pytest.mark.parametrize("value", [_CALL, _ANSWER, _PIECES])
def test_what_crosses_is_equal_on_the_other_side(value: object) -> None:
    assert unpacked(packed(value)) == value


def test_everything_that_these_are_made_of_goes_by_position() -> None:
    def kinds(value: object) -> set[type]:
        inside = value if isinstance(value, tuple) else ()
        if dataclasses.is_dataclass(value):
            inside = [getattr(value, field.name) for field in dataclasses.fields(value)]
            return {type(value)}.union(*map(kinds, inside))
        return set().union(*map(kinds, inside))

    assert kinds((_CALL, _ANSWER, _PIECES)) == set(CROSSING)


def test_an_error_keeps_what_it_says_of_the_call() -> None:
    error = MemberTimeout("late", member="ada")
    error.usage = Usage(3, 0)
    error.http_status, error.provider_code, error.connected = 504, "slow_model", True
    crossed = unpacked(packed(error))
    assert type(crossed) is MemberTimeout
    assert vars(crossed) == vars(error)
    assert vars(pickle.loads(pickle.dumps(crossed))) == vars(error)


def test_a_value_of_another_layout_is_refused() -> None:
    values = [getattr(_ANSWER, field.name) for field in dataclasses.fields(Completion)]
    assert restored(Completion, layout(Completion), *values) == _ANSWER
    with pytest.raises(LayoutMismatch, match="a Completion of another release"):
        restored(Completion, layout(Completion) + 1, *values)


def test_a_layout_is_that_of_names_and_order() -> None:
    one, two, three = (dataclasses.make_dataclass("Pair", names) for names in (["a", "b"], ["b", "a"], ["a", "b", "c"]))
    assert len({layout(kind) for kind in (one, two, three)}) == 3
