"""Texts that do not fit together come down to one level, and say what is missing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.limits.fitting import fair_level, shortened
from fusion.text.sanitize import MARK, mark_lines

SIZES = st.lists(st.integers(0, 5000), max_size=8)
ROOM = st.integers(-100, 20_000)
NOTE = "[… some of it is left out …]"


def given_to(sizes: list[int], room: int) -> list[int]:
    return [min(size, fair_level(sizes, room)) for size in sizes]


@pytest.mark.parametrize(
    ("sizes", "room", "shares"),
    [
        ([10, 20, 30], 60, [10, 20, 30]),
        ([10, 20, 30], 59, [10, 20, 29]),
        ([10, 100, 100], 110, [10, 50, 50]),
        ([100, 10, 1000], 60, [25, 10, 25]),
        ([40, 40, 40], 20, [6, 6, 6]),
        ([5, 5], 0, [0, 0]),
        ([5, 5], -7, [0, 0]),
        ([], 10, []),
    ],
)
def test_the_short_stay_whole_and_the_long_come_down_to_one_level(
    sizes: list[int], room: int, shares: list[int]
) -> None:
    assert given_to(sizes, room) == shares


@given(SIZES, ROOM)
def test_no_more_is_given_than_there_is_and_hardly_less(sizes: list[int], room: int) -> None:
    shares = given_to(sizes, room)
    assert sum(shares) <= max(0, room)
    if sum(sizes) > room >= 0:
        assert sum(shares) > room - len(sizes), "less than a token each is lost to rounding"
    if sum(sizes) <= room:
        assert shares == sizes


@given(SIZES, ROOM)
def test_whoever_has_no_more_than_an_even_share_is_never_touched(sizes: list[int], room: int) -> None:
    for size, share in zip(sizes, given_to(sizes, room), strict=True):
        if size * len(sizes) <= room:
            assert share == size


@given(SIZES, ROOM, st.integers(0, 2**32))
def test_the_order_never_matters(sizes: list[int], room: int, seed: int) -> None:
    level = fair_level(sizes, room)
    random.Random(seed).shuffle(sizes)
    assert fair_level(sizes, room) == level


@given(SIZES, ROOM, st.integers(0, 500))
def test_more_room_never_gives_anyone_less(sizes: list[int], room: int, more: int) -> None:
    assert all(a <= b for a, b in zip(given_to(sizes, room), given_to(sizes, room + more), strict=True))


@given(SIZES.filter(bool), ROOM, st.integers(0, 500), st.integers(0, 7))
def test_whoever_writes_more_never_gets_more_of_what_is_scarce(
    sizes: list[int], room: int, more: int, place: int
) -> None:
    place %= len(sizes)
    longer = [size + more * (index == place) for index, size in enumerate(sizes)]
    before, after = given_to(sizes, room), given_to(longer, room)
    level = fair_level(sizes, room)
    if sizes[place] > level:
        assert after == before


# --- what is left of a text -------------------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from("ab \n|é漢"), max_size=400) | st.lists(
    st.text("abc ", min_size=1, max_size=60), max_size=20
).map("\n".join)


@given(TEXTS, st.integers(0, 400))
def test_what_is_kept_is_the_beginning_and_the_end_around_the_note(text: str, keep_chars: int) -> None:
    short = shortened(text, keep_chars, NOTE)
    if len(text) <= keep_chars:
        assert short == text
        return
    assert len(short) <= max(keep_chars, len(NOTE))
    head, _, tail = short.partition(NOTE)
    assert text.startswith(head.removesuffix("\n"))
    assert text.endswith((tail.removeprefix("\n"), tail.removeprefix("\n").removeprefix(MARK)))
    assert NOTE in short.split("\n"), "the note has a line of its own"


@given(TEXTS, st.integers(60, 400))
def test_no_line_of_a_judged_answer_loses_its_mark(text: str, keep_chars: int) -> None:
    short = shortened(mark_lines(text), keep_chars, NOTE)
    assert [line for line in short.split("\n") if not line.startswith(MARK.strip())] in ([], [NOTE])


def test_pieces_end_at_lines_or_words() -> None:
    lines = "\n".join(f"line {number} of the answer" for number in range(100))
    short = shortened(lines, 600, NOTE).split("\n")
    assert all(line == NOTE or line in lines.split("\n") for line in short)
    words = "word " * 400
    assert set(shortened(words, 600, NOTE).replace(NOTE, "").split()) == {"word"}
