"""A remote member's replica: the bare member in its resilience wrappers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.member_replica import MemberReplica, ReplicaStatus
from deployments.metrics import Exporter
from deployments.remote_member import RemoteBackend, RemoteMember, wire_format
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.compose import ResilienceSettings, Resilient, resilient
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.tracing.settings import TracingSettings
from fusion.member import Member, MemberProfile

if TYPE_CHECKING:
    from deployments.tracing.tracing import Tracing


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How a remote member is reached and what it is wrapped in. `limits` are this replica's own
    share; `omits` names the settings that the model does not take. `tracing` says where the spans of its attempts go,
    None when they are not traced."""

    backend: RemoteBackend
    retries: RetrySettings
    breaker: BreakerSettings
    limits: LimitSettings
    omits: frozenset[str] = frozenset()
    tracing: TracingSettings | None = None


class RemoteReplica(MemberReplica):
    """Serves one remote member, and exports what its wrappers count. It is not ready while its breaker is open."""

    def __init__(self, settings: RemoteSettings, profile: MemberProfile) -> None:
        self._tracing = _tracing(settings.tracing)
        self._resilient, member = connect(settings, profile, self._tracing)
        super().__init__(lambda: member, {profile.name: profile})
        Exporter({profile.name: self._resilient}).start()

    def __del__(self) -> None:
        """Serve's hook for the end of a replica."""
        if tracing := getattr(self, "_tracing", None):
            tracing.close()

    async def status(self) -> ReplicaStatus:
        breaker = self._resilient.breaker
        return ReplicaStatus(self._resilient.ready(), None if breaker is None else breaker.state)


def connect(
    settings: RemoteSettings, profile: MemberProfile, tracing: Tracing | None = None
) -> tuple[Resilient, Member]:
    """The member in its wrappers, and what its calls go to: the same, unless they are traced."""
    # The adapter keeps its own time limits: only it knows when a connection stands.
    wrappers = ResilienceSettings(timeouts=None, breaker=settings.breaker, retries=settings.retries)
    member: Member = RemoteMember(settings.backend, profile.model, settings.omits)
    rng, limiter = random.Random(), Limiter(settings.limits)
    if tracing is None:
        wrapped = resilient(member, wrappers, rng=rng, limiter=limiter)
        return wrapped, wrapped
    from deployments.tracing.members import CountedAttempts, TracedAttempts

    wire, base_url = wire_format(settings.backend), settings.backend.base_url.rstrip("/")
    url, streaming_url = (f"{base_url}/{wire.path(profile.model, stream=stream)}" for stream in (False, True))
    member = TracedAttempts(member, tracing, url, streaming_url)
    wrapped = resilient(member, wrappers, rng=rng, limiter=limiter)
    return wrapped, CountedAttempts(wrapped)


def _tracing(settings: TracingSettings | None) -> Tracing | None:
    if settings is None:
        return None
    from deployments.onlookers import replica_name  # these bring in OpenTelemetry
    from deployments.tracing.tracing import Tracing

    return Tracing(settings, replica_name())
