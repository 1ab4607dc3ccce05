"""Named criteria that a judge model scores one by one, each with a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to score from 0 to 10. `weight` is above 0 and counts against the other criteria's."""

    name: str
    weight: float = 1.0
    description: str | None = None


def weighted(scores: Mapping[str, float | None], rubric: Sequence[Criterion]) -> float | None:
    """The weighted mean of a candidate's scores over the criteria that have one; None when none has."""
    known = [(criterion.weight, score) for criterion in rubric if (score := scores.get(criterion.name)) is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * score for weight, score in known) / total if total > 0 else None
