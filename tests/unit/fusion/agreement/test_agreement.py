"""Whether candidates say the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.agreement.agreement import LONG_THRESHOLD, agree, most_central
from fusion.chat import Completion, ToolCall
from fusion.results import Candidate
from fusion.text.similarity import SHORT_WORDS, similarity, words
from tests.support.panels import answered

LONG = " ".join(f"word{i}" for i in range(60))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("42", "42."),
        ("42", "**42**"),
        ("The answer is 42.", "the  answer is: 42"),
        ("1,234,567", "1234567"),
        ("STRASSE", "straße"),
        ("-4", "\N{MINUS SIGN}4"),
        ("x=3", "x = 3"),
        ("- 4", "4"),
        ("", " "),
        ("👍", " 👍"),
    ],
)
def test_short_answers_that_say_the_same(a: str, b: str) -> None:
    assert similarity(a, b) == 1.0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("4", "-4"),
        ("0.5", "5"),
        (".5", "5"),
        ("1.5", "15"),
        ("1,5", "15"),
        ("x < 3", "x > 3"),
        ("50%", "50"),
        ("2+2", "2/2"),
        ("yes", "no"),
        ("yes", "yes, but only on Mondays"),
        ("👍", "👎"),
        ("!", "?"),
        ("", "four"),
    ],
)
def test_short_answers_that_differ(a: str, b: str) -> None:
    assert similarity(a, b) == 0.0


def test_short_texts_share_all_or_nothing_and_long_ones_a_part() -> None:
    short = " ".join(["same"] * SHORT_WORDS)
    assert similarity(short, f"{short} same") == 0.0
    assert 0 < similarity(LONG, LONG.replace("word30", "other")) < 1


def test_the_overlap_is_the_dice_coefficient_of_bigrams() -> None:
    a = " ".join(f"w{i}" for i in range(14))
    b = " ".join(f"w{i}" for i in range(7, 21))
    assert similarity(a, b) == pytest.approx(2 * 6 / (13 + 13))


@given(st.text(), st.text())
def test_similarity_is_symmetric_bounded_and_whole_for_equals(a: str, b: str) -> None:
    assert similarity(a, b) == similarity(b, a)
    assert 0 <= similarity(a, b) <= 1
    assert similarity(a, a) == 1.0


@given(st.text(alphabet="ab01 .,-<\n"))
def test_words_are_folded_and_hold_no_space(text: str) -> None:
    assert all(word and not word.isspace() for word in words(text))
    assert words(text.upper()) == words(text)


@pytest.mark.parametrize("text", ["." * 200_000, "a." * 100_000, "," * 200_000, "-" * 200_000, "1," * 100_000])
def test_words_take_linear_time(text: str) -> None:
    """The bound is generous, for it is real time: what is quadratic takes minutes here."""
    began_at = time.process_time()
    words(text)
    assert time.process_time() - began_at < 2


def test_candidates_agree_when_every_two_do() -> None:
    near = LONG.replace("word30", "other")
    assert similarity(LONG, near) > LONG_THRESHOLD
    assert agree([answered("ada", LONG), answered("bob", near), answered("cyd", LONG)])
    assert not agree([answered("ada", LONG), answered("bob", near), answered("cyd", "no")])
    assert not agree([answered("ada", LONG), answered("bob", near)], threshold=0.99)


def test_one_candidate_alone_is_no_agreement() -> None:
    assert not agree([answered("ada", "four")])
    assert not agree([])
    assert not agree([answered("ada", "four"), Candidate("bob", "failed", 1.0)])


def test_tool_calls_agree_when_they_are_equal_but_for_their_ids() -> None:
    def calling(member: str, call_id: str, arguments: str) -> Candidate:
        return Candidate(member, "answered", 1.0, completion=Completion("", (ToolCall(call_id, "weather", arguments),)))

    assert agree([calling("ada", "1", "{}"), calling("bob", "2", "{}")])
    assert not agree([calling("ada", "1", "{}"), calling("bob", "1", '{"city": "Oslo"}')])
    assert not agree([calling("ada", "1", "{}"), answered("bob", "")])


def test_the_most_central_is_the_closest_to_the_others_and_the_earlier_of_equals() -> None:
    assert most_central([answered("ada", "no"), answered("bob", "yes"), answered("cyd", "yes")]).member == "bob"
    assert most_central([answered("ada", "a"), answered("bob", "b"), answered("cyd", "c")]).member == "ada"
    assert most_central([answered("ada", "a")]).member == "ada"
