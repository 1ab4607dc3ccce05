"""The chain of wrappers around a remote member on the replica's side; `deployments.members` draws both sides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.resilience.breaker import BreakerSettings, Breaking
from deployments.resilience.limits import Limiter, Limiting
from deployments.resilience.resilient import Counted, Resilient
from deployments.resilience.retries import Retrying, RetrySettings
from fusion.member import Member

if TYPE_CHECKING:
    from deployments.observability.tracing.provider import Tracing


@dataclass(frozen=True, slots=True)
class TracedRequests:
    """How a member's requests to its API become spans: what makes them, and the URLs that they name."""

    tracing: Tracing
    url: str
    streaming_url: str


def replica_side(
    member: Member,
    retries: RetrySettings,
    breaker: BreakerSettings | None,
    limiter: Limiter,
    traced: TracedRequests | None = None,
    rng: random.Random | None = None,
) -> Resilient:
    """Build the replica's side of a remote member's chain, from the inside out:

        CountedAttempts( Retrying( Breaking( Limiting( TracedAttempts( member)))))

    Why this order:

    - Limits are inside of the retries: what a provider counts is attempts, so every one of them takes a slot.
    - The breaker is around the limits, so that while it is open no call queues to be refused; and inside of the
      retries, so that it hears of each attempt and ends a series of them when it opens.
    - Time limits are the member's own, innermost: only it knows when a connection stands, and they time an attempt
      without its queueing and backoff.

    Args:
        member: the bare member.
        retries: how failed calls are repeated, within this member's own budget.
        breaker: None leaves it out.
        limiter: the limits of the member's backend, shared by all its members.
        traced: None where attempts are not traced.
        rng: where the jitter of the backoff comes from.
    """
    if traced is not None:
        from deployments.observability.tracing.members import TracedAttempts

        member = TracedAttempts(member, traced.tracing, traced.url, traced.streaming_url)
    member = limiting = Limiting(member, limiter)
    counted: list[Counted] = [limiting]
    breaking: Breaking | None = None
    if breaker is not None:
        member = breaking = Breaking(member, breaker)
        counted.append(breaking)
    member = retrying = Retrying(member, retries, rng=rng or random.Random())
    counted.append(retrying)
    if traced is not None:
        from deployments.observability.tracing.members import CountedAttempts

        member = CountedAttempts(member)
    return Resilient(member, tuple(counted), breaking)
