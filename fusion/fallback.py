"""The decision without a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.agreement.agreement import most_central
from fusion.member import MemberProfile
from fusion.results import Candidate


def most_trusted(candidates: Sequence[Candidate], profiles: Mapping[str, MemberProfile]) -> Candidate:
    """The most trusted of the answered candidates, which come in order of trust.

    Where several of them are samples of its model, the one closest to the other samples stands for them
    (self-consistency, arXiv 2203.11171); among different models closeness says nothing about quality.
    """
    first = candidates[0]
    origin = profiles[first.member].origin
    samples = [candidate for candidate in candidates if profiles[candidate.member].origin == origin]
    return most_central(samples)
