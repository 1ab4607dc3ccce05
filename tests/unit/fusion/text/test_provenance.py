"""Which candidates support which part of an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fusion.chat import Completion
from fusion.results import Candidate
from fusion.text.provenance import supported


def candidates(**texts: str) -> list[Candidate]:
    return [Candidate(name, "answered", 1.0, completion=Completion(text)) for name, text in texts.items()]


def told(text: str, **texts: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(text[part.start : part.end], part.members) for part in supported(text, candidates(**texts))]


def test_a_sentence_is_supported_by_those_who_said_much_the_same() -> None:
    answer = "The capital of France is Paris. It has 2 million people. Cats are nice."
    assert told(
        answer,
        ada="I know that the capital of France is Paris, of course.",
        bob="Paris. It has 2 million people living there. The capital of France is Paris.",
        cyd="It has 3 million people.",
    ) == [
        ("The capital of France is Paris.", ("ada", "bob")),
        ("It has 2 million people.", ("bob",)),
        ("Cats are nice.", ()),
    ]


def test_a_block_is_supported_byte_for_byte() -> None:
    code = "```python\nprint(1)\n```"
    answer = f"Run this:\n\n{code}\n\nThat is all."
    parts = dict(told(answer, ada=f"Try\n{code}\n", bob="```python\nprint(2)\n```"))
    assert parts[code] == ("ada",)


@given(st.text(max_size=200), st.text(max_size=200))
def test_parts_are_in_order_and_never_overlap(answer: str, other: str) -> None:
    parts = supported(answer, candidates(ada=other, bob=answer))
    position = 0
    for part in parts:
        assert position <= part.start < part.end <= len(answer)
        position = part.end
        assert "bob" in part.members
