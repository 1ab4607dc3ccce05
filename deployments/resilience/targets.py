"""Who is asked besides a member: another when it is slow, others when it cannot answer."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.resilience.compose import ResilienceSettings, Resilient, resilient
from deployments.resilience.fallbacks import StandingIn
from deployments.resilience.hedging import HedgeSettings
from fusion.member import Member


@dataclass(frozen=True, slots=True)
class Backup:
    """`second` is asked as well when the member is slower than it usually is: another member or, by the member's own
    name, another replica of it. `stand_ins` are asked in their order when it cannot answer."""

    second: str | None = None
    stand_ins: tuple[str, ...] = ()


def backed_up(name: str, backup: Backup, members: Mapping[str, Member]) -> Resilient:
    """The member `name` with its backup. `members` are all members, each without a backup of its own, so that no call
    goes round in circles."""
    second: Member | None = None
    if backup.second is not None:
        second = members[name] if backup.second == name else StandingIn(members[backup.second], backup.second)
    return resilient(
        members[name],
        ResilienceSettings(timeouts=None, breaker=None, retries=None, hedging=HedgeSettings()),
        rng=random.Random(),
        second=second,
        stand_ins=[StandingIn(members[other], other) for other in backup.stand_ins],
    )
