"""A figure that a benchmark measured, against what it has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """`without` and `with_` are medians over `runs` in the same `unit`; `must` says what holds of them, `holds` whether
    it does."""

    name: str
    unit: str
    without: float
    with_: float
    runs: int
    must: str
    holds: bool

    @property
    def ratio(self) -> float | None:
        """How many times as much it is without."""
        return self.without / self.with_ if self.with_ else None


def figure(name: str, unit: str, without: Sequence[float], with_: Sequence[float], must: str, holds: bool) -> Figure:
    return Figure(name, unit, median(without), median(with_), min(len(without), len(with_)), must, holds)
