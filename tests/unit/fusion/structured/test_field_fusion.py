"""JSON answers fused field by field."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fusion.structured.field_fusion import fuse_fields
from fusion.text.json_text import canonical_by_value

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "b", "c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


def fused(*values: Any) -> Any:
    return fuse_fields(list(values), {}).value


@given(DOCUMENTS, st.integers(1, 5))
def test_a_unanimous_panel_is_not_changed(value: Any, size: int) -> None:
    found = fuse_fields([value] * size, {})
    assert (found.value, found.fields) == (value, [])


@given(st.integers(-100, 100), st.integers(2, 5), st.integers(-(10**9), 10**9), st.integers(0, 5))
def test_one_attacker_does_not_move_a_number(honest: int, size: int, attack: int, place: int) -> None:
    numbers = [honest] * size
    numbers.insert(min(place, size), attack)
    assert fused(*numbers) == honest


@given(DOCUMENTS, DOCUMENTS, st.integers(2, 4))
def test_one_attacker_never_wins(honest: Any, attack: Any, size: int) -> None:
    assert canonical_by_value(fused(*[honest] * size, attack)) == canonical_by_value(honest)
    assert canonical_by_value(fused(attack, *[honest] * size)) == canonical_by_value(honest)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=7).filter(lambda numbers: len(numbers) % 2), st.randoms())
def test_the_median_does_not_mind_the_order(numbers: list[int], draw: Any) -> None:
    shuffled = list(numbers)
    draw.shuffle(shuffled)
    assert fused(*numbers) == fused(*shuffled) == sorted(numbers)[len(numbers) // 2]


def test_fields_are_settled_each_in_its_way() -> None:
    values = [
        {"name": "Oslo", "people": 1, "open": True, "tags": ["a", "b"], "extra": 1},
        {"name": "oslo", "people": 3, "open": True, "tags": ["b", "c"]},
        {"name": "Rome", "people": 9, "open": False, "tags": ["b", "a"]},
    ]
    assert fused(*values) == {"name": "Oslo", "people": 3, "open": True, "tags": ["a", "b"]}
