"""A remote member's replica: the bare member in its resilience wrappers."""

from __future__ import annotations

import random
from dataclasses import dataclass

from deployments.members.replica import MemberReplica, ReplicaStatus
from deployments.observability.exporter import Exporter
from deployments.observability.tracing.settings import TracingSettings
from deployments.providers.member import RemoteBackend, RemoteMember, wire_format
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.compose import ResilienceSettings, Resilient, resilient
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.retries import RetrySettings
from fusion.member import Member


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How a remote member is reached and what it is wrapped in. `limits` are this replica's own
    share; `omits` names the settings that the model does not take. `tracing` says where the spans of its attempts go,
    None when they are not traced. On the short way `max_ongoing` calls are let in at once."""

    backend: RemoteBackend
    retries: RetrySettings
    breaker: BreakerSettings
    limits: LimitSettings
    omits: frozenset[str] = frozenset()
    tracing: TracingSettings | None = None
    max_ongoing: int = 256


class RemoteReplica(MemberReplica):
    """Serves one remote member, and exports what its wrappers count. It is not ready while its breaker is open."""

    def __init__(self, settings: RemoteSettings, name: str, model: str) -> None:
        self._resilient, member = connect(settings, model)
        super().__init__(lambda: member)
        Exporter({name: self._resilient}).start()
        self.listen(settings.max_ongoing)
        # Serve awaits it when the replica is to end. On the class the interpreter would call it too, and not wait.
        self.__del__ = self.close

    async def status(self) -> ReplicaStatus:
        breaker = self._resilient.breaker
        return ReplicaStatus(self._resilient.ready(), None if breaker is None else breaker.state)


def connect(settings: RemoteSettings, model: str) -> tuple[Resilient, Member]:
    """The member in its wrappers, and what its calls go to: the same, unless they are traced."""
    # The adapter keeps its own time limits: only it knows when a connection stands.
    wrappers = ResilienceSettings(timeouts=None, breaker=settings.breaker, retries=settings.retries)
    member: Member = RemoteMember(settings.backend, model, settings.omits)
    rng, limiter = random.Random(), Limiter(settings.limits)
    if settings.tracing is None:
        wrapped = resilient(member, wrappers, rng=rng, limiter=limiter)
        return wrapped, wrapped
    from deployments.observability.identity import replica_name
    from deployments.observability.tracing.members import CountedAttempts, TracedAttempts
    from deployments.observability.tracing.provider import Tracing

    wire = wire_format(settings.backend)
    urls = {
        stream: f"{settings.backend.base_url.rstrip('/')}/{wire.path(model, stream=stream)}" for stream in (False, True)
    }
    tracing = Tracing(settings.tracing, replica_name())
    wrapped = resilient(TracedAttempts(member, tracing, urls[False], urls[True]), wrappers, rng=rng, limiter=limiter)
    return wrapped, CountedAttempts(wrapped)
