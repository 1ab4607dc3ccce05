"""The vote among values."""

from __future__ import annotations

import pytest

from fusion.structured.plurality import plurality


@pytest.mark.parametrize(("values", "winner"), [("a", "a"), ("abb", "b"), ("abab", "a"), ("cabba", "a"), ("bcca", "c")])
def test_the_most_frequent_value_wins_and_the_earliest_of_equals(values: str, winner: str) -> None:
    assert plurality(values) == winner
