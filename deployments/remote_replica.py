"""A remote member's replica: the bare member in its resilience wrappers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from deployments.member_replica import MemberReplica
from deployments.remote_member import RemoteBackend, RemoteMember
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.compose import ResilienceSettings, Resilient, resilient
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.retries import RetrySettings
from fusion.member import MemberProfile


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How a remote member is reached and what it is wrapped in. `limits` are this replica's own
    share; `omits` names the settings that the model does not take."""

    backend: RemoteBackend
    retries: RetrySettings
    breaker: BreakerSettings
    limits: LimitSettings
    omits: frozenset[str] = frozenset()


class RemoteReplica(MemberReplica):
    """Serves one remote member. It is not ready while its breaker is open."""

    def __init__(self, settings: RemoteSettings, profile: MemberProfile) -> None:
        self._resilient = _connect(settings, profile)
        super().__init__(lambda: self._resilient, {profile.name: profile})

    async def ready(self) -> bool:
        return self._resilient.ready()

    async def counters(self) -> Mapping[str, float]:
        """What the wrappers have counted: retries, waits, and what the breaker saw."""
        return self._resilient.counters()


def _connect(settings: RemoteSettings, profile: MemberProfile) -> Resilient:
    # The adapter keeps its own time limits: only it knows when a connection stands.
    wrappers = ResilienceSettings(timeouts=None, breaker=settings.breaker, retries=settings.retries)
    member = RemoteMember(settings.backend, profile.model, settings.omits)
    return resilient(member, wrappers, rng=random.Random(), limiter=Limiter(settings.limits))
