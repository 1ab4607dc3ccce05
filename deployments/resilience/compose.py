"""What a wrapper counts, for whoever exports it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from deployments.resilience.breaker import BreakerSettings, Breaking
from deployments.resilience.fallbacks import FallingBack, StandingIn
from deployments.resilience.hedging import HedgeSettings, Hedging
from deployments.resilience.limits import Limiter, Limiting
from deployments.resilience.retries import Retrying, RetrySettings
from deployments.resilience.time_limits import TimeLimiting, TimeLimits
from fusion.chat import Call, Completion
from fusion.member import Emit, Member


class Counted(Protocol):
    """Something that counts what it does."""

    def counters(self) -> Mapping[str, float]:
        """Plain numbers by name, cheap to read at any time: those that end in `_total` only grow, the others are
        what holds now."""
        ...


@dataclass(frozen=True, slots=True)
class ResilienceSettings:
    """What a member is wrapped in; None leaves a wrapper out."""

    timeouts: TimeLimits | None = field(default_factory=TimeLimits)
    breaker: BreakerSettings | None = field(default_factory=BreakerSettings)
    retries: RetrySettings | None = field(default_factory=RetrySettings)
    hedging: HedgeSettings | None = None


@dataclass(frozen=True, slots=True)
class Resilient:
    """A member in its wrappers, and what can be read off them."""

    outermost: Member
    breaker: Breaking | None
    parts: tuple[Counted, ...]

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        return await self.outermost.ask(call, emit)

    def ready(self) -> bool:
        """Whether a call would be made at all: not while the breaker is open."""
        return self.breaker is None or self.breaker.ready()

    def counters(self) -> Mapping[str, float]:
        """Every part's numbers."""
        return {name: number for part in self.parts for name, number in part.counters().items()}


def resilient(
    member: Member,
    settings: ResilienceSettings,
    *,
    rng: random.Random,
    limiter: Limiter | None = None,
    second: Member | None = None,
    stand_ins: Sequence[StandingIn] = (),
) -> Resilient:
    """The member in its wrappers, from the inside out:

        FallingBack( Hedging( Retrying( Breaking( Limiting( TimeLimiting(member)))), second), stand-ins)

    The inner four look after one backend, the outer two bring in others. Why this order:

    - Time limits are innermost, so that they time an attempt and nothing else: no queueing, no backoff.
    - Limits come next: what a provider counts is attempts, so every one of them takes a turn.
    - The breaker is around the limits, so that while it is open nobody queues to be refused; and inside of the
      retries, so that it hears of each attempt and ends a series of them when it opens.
    - Retries are inside of the hedge, whose second call may so begin while the first one waits to be repeated, and
      which is asked once a call: the two budgets do not multiply within one.
    - Fallbacks are outermost: another member answers only when everything that this one has was tried.

    Args:
        member: the bare member.
        settings: which wrappers, and how they are set.
        rng: where the jitter comes from.
        limiter: the limits of the member's backend, shared by all members that speak through it.
        second: another backend or replica of the same member, wrapped for itself: its own limits, breaker and retries.
        stand_ins: other members, wrapped for themselves, that answer when this one cannot.
    """
    parts: list[Counted] = []
    breaking: Breaking | None = None
    if settings.timeouts is not None:
        member = timed = TimeLimiting(member, settings.timeouts)
        parts.append(timed)
    if limiter is not None:
        member = limiting = Limiting(member, limiter)
        parts.append(limiting)
    if settings.breaker is not None:
        member = breaking = Breaking(member, settings.breaker)
        parts.append(breaking)
    if settings.retries is not None:
        member = retrying = Retrying(member, settings.retries, rng=rng)
        parts.append(retrying)
    if settings.hedging is not None and second is not None:
        member = hedging = Hedging(member, second, settings.hedging)
        parts.append(hedging)
    if stand_ins:
        member = falling_back = FallingBack(member, stand_ins)
        parts.append(falling_back)
    return Resilient(member, breaking, tuple(parts))
