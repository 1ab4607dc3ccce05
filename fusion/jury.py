"""Several judge models, one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusion.borda import borda
from fusion.judging import mean, mean_by_criterion, of_both_orders
from fusion.results import Jury, Verdict


def of_orders(verdicts: Sequence[Verdict], trust: Sequence[str]) -> Verdict:
    """One judge model's verdict, of one order or of two."""
    return verdicts[0] if len(verdicts) == 1 else of_both_orders(verdicts[0], verdicts[1], trust)


def of_jury(orders: Sequence[Sequence[Verdict]], abstained: Mapping[str, str], trust: Sequence[str]) -> Verdict:
    """One verdict of several judge models, each with its verdicts in one order or in two.

    Their ranks are combined by Borda's count, so that a judge who scores high has no more to say than one who scores
    low. Every judge has one vote, shared between its orders: where they disagree on two candidates, these are tied for
    it. Equal points go by the means of the scores, then by the order of trust.
    """
    verdicts = tuple(of_orders(of_judge, trust) for of_judge in orders)
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
