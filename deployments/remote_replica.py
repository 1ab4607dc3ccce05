"""A remote member's replica: the bare member in its resilience wrappers."""

from __future__ import annotations

import random
from dataclasses import dataclass

from deployments.member_replica import MemberReplica, ReplicaStatus
from deployments.metrics import Exporter
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
    """Serves one remote member, and exports what its wrappers count. It is not ready while its breaker is open."""

    def __init__(self, settings: RemoteSettings, profile: MemberProfile) -> None:
        self._resilient = connect(settings, profile)
        super().__init__(lambda: self._resilient, {profile.name: profile})
        Exporter({profile.name: self._resilient}).start()

    async def status(self) -> ReplicaStatus:
        breaker = self._resilient.breaker
        return ReplicaStatus(self._resilient.ready(), None if breaker is None else breaker.state)


def connect(settings: RemoteSettings, profile: MemberProfile) -> Resilient:
    """The member in its wrappers."""
    # The adapter keeps its own time limits: only it knows when a connection stands.
    wrappers = ResilienceSettings(timeouts=None, breaker=settings.breaker, retries=settings.retries)
    member = RemoteMember(settings.backend, profile.model, settings.omits)
    return resilient(member, wrappers, rng=random.Random(), limiter=Limiter(settings.limits))
