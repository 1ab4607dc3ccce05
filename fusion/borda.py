"""Ranks of several judges combined into one (Borda 1781; ties as in Emerson 2013, "The original Borda count and partial
voting")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ballot = Mapping[str, float | None]
"""Scores by candidate; None where this ballot abstains."""


def borda(ballots: Sequence[tuple[Ballot, float]]) -> dict[str, float]:
    """The candidates' points over all ballots, each with its weight.

    A ballot gives a candidate one point for every candidate that it scores lower and half a point for every tie. Where
    it has no score for one of two it does not know which is better, and each has half a point. Only the order of the
    scores counts, so that a judge who scores high has no more to say than one who scores low.
    """
    candidates = dict.fromkeys(candidate for ballot, _ in ballots for candidate in ballot)
    return {
        one: sum(
            weight * sum(_beats(ballot.get(one), ballot.get(other)) for other in candidates if other != one)
            for ballot, weight in ballots
        )
        for one in candidates
    }


def _beats(one: float | None, other: float | None) -> float:
    if one is None or other is None or one == other:
        return 0.5
    return 1.0 if one > other else 0.0
