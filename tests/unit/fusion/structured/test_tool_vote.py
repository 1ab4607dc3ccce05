"""Votes on tool calls."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fusion.chat import Completion, Message, Request, Tool, ToolCall
from fusion.results import Candidate
from fusion.structured.tool_vote import vote

TOOL = Tool("weather", None, {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
ASKED = Request((Message("user", "?"),), tools=(TOOL, Tool("time")))

ARGUMENTS = st.fixed_dictionaries({"city": st.sampled_from(["Oslo", "Rome"]), "days": st.integers(0, 2)})


def turn(member: str, *calls: tuple[str, Any], text: str = "") -> Candidate:
    made = tuple(ToolCall(f"{member}{place}", name, json.dumps(given)) for place, (name, given) in enumerate(calls))
    return Candidate(member, "answered", 1.0, completion=Completion(text, made, "tool_calls" if made else "stop"))


def identities(completion: Completion | None) -> list[tuple[str, str]]:
    calls = completion.tool_calls if completion else ()
    return sorted((call.name, json.dumps(json.loads(call.arguments), sort_keys=True)) for call in calls)


@given(st.lists(ARGUMENTS, min_size=1, max_size=6))
def test_no_call_is_made_that_no_member_made(arguments: list[dict[str, Any]]) -> None:
    turns = [turn(f"m{place}", ("weather", given)) for place, given in enumerate(arguments)]
    completion, _ = vote(turns, ASKED)
    assert identities(completion) in [identities(each.completion) for each in turns]


@given(ARGUMENTS, st.integers(1, 5))
def test_a_unanimous_panel_is_not_changed(arguments: dict[str, Any], size: int) -> None:
    turns = [turn(f"m{place}", ("weather", arguments)) for place in range(size)]
    completion, found = vote(turns, ASKED)
    assert completion == turns[0].completion
    assert found.outvoted == ()


@given(ARGUMENTS, ARGUMENTS, st.integers(2, 5), st.integers(0, 5))
def test_one_among_honest_ones_never_wins(honest: dict[str, Any], other: dict[str, Any], size: int, place: int) -> None:
    turns = [turn(f"m{number}", ("weather", honest)) for number in range(size)]
    turns.insert(min(place, size), turn("attacker", ("weather", other)))
    completion, _ = vote(turns, ASKED)
    assert identities(completion) == identities(turn("x", ("weather", honest)).completion)


@given(st.lists(ARGUMENTS, min_size=3, max_size=5), st.randoms(use_true_random=False))
def test_order_matters_for_ties_alone(arguments: list[dict[str, Any]], draw: Any) -> None:
    majority = [*arguments, *[arguments[0]] * len(arguments)]
    turns = [turn(f"m{place}", ("weather", given)) for place, given in enumerate(majority)]
    shuffled = list(turns)
    draw.shuffle(shuffled)
    assert identities(vote(turns, ASKED)[0]) == identities(vote(shuffled, ASKED)[0])


def test_a_call_that_cannot_be_made_has_no_vote() -> None:
    wrong = [turn("a", ("weather", {"town": "Oslo"})), turn("b", ("no_such", {})), turn("c", ("weather", ["Oslo"]))]
    right = turn("d", ("weather", {"city": "Oslo"}))
    completion, found = vote([*wrong, right], ASKED)
    assert completion == right.completion
    assert found.voters == ("d",)


def test_what_the_client_forbids_has_no_vote() -> None:
    calling, speaking = turn("a", ("time", {})), turn("b", text="four")
    assert vote([calling, speaking], Request(ASKED.messages, tools=ASKED.tools, tool_choice="none"))[0] is None
    required = Request(ASKED.messages, tools=ASKED.tools, tool_choice="required")
    assert vote([speaking, calling], required)[0] == calling.completion
    named = Request(ASKED.messages, tools=ASKED.tools, tool_choice="function:weather")
    right = turn("c", ("weather", {"city": "Oslo"}))
    assert vote([calling, right], named)[0] == right.completion
    two = turn("d", ("time", {}), ("time", {}))
    alone = Request(ASKED.messages, tools=ASKED.tools, parallel_tool_calls=False)
    assert vote([two, calling], alone)[0] == calling.completion


def test_several_calls_are_voted_on_each_for_itself() -> None:
    turns = [
        turn("a", ("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})),
        turn("b", ("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})),
        turn("c", ("weather", {"city": "Oslo"}), ("weather", {"city": "Bonn"})),
    ]
    completion, _ = vote(turns, ASKED)
    assert completion == turns[0].completion
