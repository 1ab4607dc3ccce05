"""From several verdicts to one: two orders of one judge model, and the ranks of a jury."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusion.ballot import Ballot
from fusion.results import Jury, Verdict

CandidateScores = Mapping[str, float | None]
"""Scores by candidate, None where the ballot has no score for one."""


def borda(ballots: Sequence[tuple[CandidateScores, float]]) -> dict[str, float]:
    """Sum up each candidate's points over all ballots, which come with their weights (Borda's count).

    A ballot gives a candidate one point for every candidate that it scores lower and half a point for every tie. A
    candidate without a score ties with every other. Only the order of the scores counts, so a judge model that scores
    high weighs no more than one that scores low.
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


def combine_orders(verdicts: Sequence[Verdict], trust: Sequence[str]) -> Verdict:
    """Combine one judge model's verdicts, of one order or of two opposite ones."""
    return verdicts[0] if len(verdicts) == 1 else combine_both_orders(verdicts[0], verdicts[1], trust)


def combine_jury(orders: Sequence[Sequence[Verdict]], abstained: Mapping[str, str], trust: Sequence[str]) -> Verdict:
    """Combine the verdicts of several judge models, each of one order or of two, by their ranks (Borda's count).

    Only ranks count, so a judge model that scores high weighs no more than one that scores low. Every judge model has
    one vote, shared between its orders: two candidates on which its orders disagree are tied in it. The means of the
    scores break ties between points, then the order of trust does.
    """
    verdicts = tuple(combine_orders(of_judge, trust) for of_judge in orders)
    ballots = [(verdict.scores, 1 / len(of_judge)) for of_judge in orders for verdict in of_judge]
    points = borda(ballots)
    scores = {member: mean([verdict.scores.get(member) for verdict in verdicts]) for member in points}
    best = max(points.values())
    leading = [member for member in trust if member in points and points[member] > best - 1e-9]
    top = max(scores[member] or 0.0 for member in leading)
    winner, *others = [member for member in leading if (scores[member] or 0.0) == top]
    agreed = len({verdict.winner for verdict in verdicts}) == 1 and all(
        verdict.agreed in (True, None) for verdict in verdicts
    )
    return replace(
        next((verdict for verdict in verdicts if verdict.winner == winner), verdicts[0]),
        judge=", ".join(verdict.judge for verdict in verdicts),
        winner=winner,
        scores=scores,
        agreed=agreed,
        tie_broken_by=None if len(leading) == 1 else "trust" if others else "scores",
        criteria={
            member: mean_by_criterion([verdict.criteria.get(member, {}) for verdict in verdicts])
            for member in verdicts[0].criteria
        },
        kin=tuple(kin for verdict in verdicts for kin in verdict.kin),
        jury=Jury(verdicts, points, abstained),
    )


def reversed_order(ballot: Ballot) -> Ballot:
    """Return the ballot in the opposite order, so that each candidate has another label and another place."""
    return replace(ballot, candidates=tuple(reversed(ballot.candidates)))


def combine_both_orders(first: Verdict, second: Verdict, trust: Sequence[str]) -> Verdict:
    """Combine two verdicts that one judge model gave in opposite orders.

    Judge models favour positions: GPT-4 kept its verdict under a swap in 65% of pairs (arXiv 2306.05685). So two orders
    that disagree on the winner are a tie. The sums of the scores break it, then the order of trust does.
    """
    given = first.scores
    scores = {member: mean([score, second.scores.get(member)]) for member, score in given.items()}
    criteria = {
        member: mean_by_criterion([scored, second.criteria.get(member, {})])
        for member, scored in first.criteria.items()
    }
    first = replace(first, scores=scores, criteria=criteria, agreed=first.winner == second.winner)
    if first.agreed:
        return first
    sums = {member: (score or 0) + (second.scores.get(member) or 0) for member, score in given.items()}
    leading = [member for member in trust if sums.get(member) == max(sums.values())]
    by = "scores" if len(leading) == 1 else "trust"
    return replace(first, winner=leading[0], tie_broken_by=by)


def mean(scores: Sequence[float | None]) -> float | None:
    """The mean of the scores that are not None; None when all are."""
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def mean_by_criterion(given: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The means by criterion; see `mean`."""
    names = dict.fromkeys(name for scores in given for name in scores)
    return {name: mean([scores.get(name) for scores in given]) for name in names}
