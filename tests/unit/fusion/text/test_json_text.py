"""JSON that a model wrote: read, compared by value and as written, and freed of its fence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.text.json_text import (
    NotJson,
    canonical_as_written,
    canonical_by_value,
    fenced_block,
    read_json,
    without_json_fence,
    write_json,
)

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1e999]", '{"a": Infinity}', "{} {}", "[" * 100_000])
def test_a_text_that_is_not_one_json_document_is_refused(text: str) -> None:
    with pytest.raises(NotJson):
        read_json(text)


@given(DOCUMENTS)
def test_a_value_that_is_written_and_read_is_the_same(value: Any) -> None:
    assert read_json(write_json(value)) == value


@given(DOCUMENTS)
def test_equal_values_share_a_canonical_text(value: Any) -> None:
    assert canonical_by_value(json.loads(json.dumps(value))) == canonical_by_value(value)


def test_numbers_are_compared_by_value_in_one_form_and_as_written_in_the_other() -> None:
    assert canonical_by_value(1) == canonical_by_value(1.0) != canonical_by_value(True)
    assert canonical_as_written("[1]") != canonical_as_written("[1.0]")
    assert canonical_as_written("[12345678901234567890.1]") != canonical_as_written("[12345678901234567890.2]")


@given(st.dictionaries(st.text(max_size=3), DOCUMENTS, max_size=4), st.randoms())
def test_the_order_of_keys_never_matters(value: dict[str, object], draw: Any) -> None:
    keys = list(value)
    draw.shuffle(keys)
    shuffled = {key: value[key] for key in keys}
    assert canonical_as_written(json.dumps(shuffled, indent=2)) == canonical_as_written(json.dumps(value))
    assert canonical_by_value(shuffled) == canonical_by_value(value)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[NaN]", "[" * 100_000, "1", '"a"', "no JSON"])
def test_what_readers_read_differently_has_no_canonical_text(text: str) -> None:
    assert canonical_as_written(text) is None


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("```\na\n```", ("", "a\n")),
        (" ```JSON \n{}```\n", ("json", "{}")),
        ('```json\n{"a": "```"}\n```', ("json", '{"a": "```"}\n')),
        ("```py\na\n```\n```py\nb\n```", None),
        ("```py\na\n```\nor\n```py\nb\n```", None),
        ("so: ```\na\n```", None),
        ("```a```", None),
        ("``````", None),
        ("````\na\n````", None),
    ],
)
def test_a_fenced_block_is_all_of_its_text(text: str, block: tuple[str, str] | None) -> None:
    assert fenced_block(text) == block


@pytest.mark.parametrize(
    ("text", "answer"),
    [("```json\n{}\n```", "{}"), ("```\n{}\n```", "{}"), ("```py\n{}\n```", "```py\n{}\n```"), (" {} ", " {} ")],
)
def test_a_fence_around_json_is_removed(text: str, answer: str) -> None:
    assert without_json_fence(text) == answer
