"""The vote that decides among values: the most frequent one wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def plurality(values: Sequence[Value]) -> Value:
    """The most frequent of one or more values; the earliest of those that are equally frequent."""
    counts = Counter(values)
    return max(values, key=lambda value: counts[value])
