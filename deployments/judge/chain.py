"""The chain of wrappers around a member on the judge's side; `deployments.members` draws both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.members.profiled import ProfiledMember
from deployments.resilience.fallbacks import FallbackTarget, FallingBack
from deployments.resilience.hedging import HedgeSettings, Hedging
from deployments.resilience.resilient import Counted, Resilient
from deployments.resilience.targets import Targets
from fusion.member import Member, MemberProfile

Trace = Callable[[Member], Member]
"""Wraps a member so that each of its calls is a span."""


@dataclass(frozen=True, slots=True)
class JudgeSide:
    """The members as a judge asks them."""

    alone: Mapping[str, Member]
    """Each member without hedges and fallbacks: what a budget allows, and what prefills."""

    resilient: Mapping[str, Resilient]
    """The members that have a hedge or fallbacks, with them."""

    @property
    def members(self) -> dict[str, Member]:
        """Every member, with its hedge and fallbacks where it has any."""
        return {**self.alone, **self.resilient}


def judge_side(
    backends: Mapping[str, Member],
    profiles: Mapping[str, MemberProfile],
    targets: Mapping[str, Targets],
    trace: Trace | None = None,
) -> JudgeSide:
    """Build the judge's side of every member's chain.

    Hedges and fallbacks are members without hedges and fallbacks of their own, so that no call goes round in circles.

    Args:
        backends: what reaches each member's backend, by the member's name.
        profiles: every member's profile.
        targets: the hedge and the fallbacks of those members that have any.
        trace: None where calls are not traced.
    """
    alone: dict[str, Member] = {name: ProfiledMember(backends[name], profiles[name]) for name in backends}
    if trace is not None:
        alone = {name: trace(member) for name, member in alone.items()}
    return JudgeSide(alone, {name: _with_targets(name, each, alone) for name, each in targets.items()})


def _with_targets(name: str, targets: Targets, members: Mapping[str, Member]) -> Resilient:
    member = members[name]
    counted: list[Counted] = []
    if targets.hedge is not None:
        # A hedge of the member's own name is another replica's.
        hedge = member if targets.hedge == name else FallbackTarget(members[targets.hedge], targets.hedge)
        member = hedging = Hedging(member, hedge, HedgeSettings())
        counted.append(hedging)
    if targets.fallbacks:
        # Fallbacks are outermost: another member answers when everything that this one has was tried.
        member = falling_back = FallingBack(member, [FallbackTarget(members[each], each) for each in targets.fallbacks])
        counted.append(falling_back)
    return Resilient(member, tuple(counted))
