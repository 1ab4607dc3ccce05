"""Serves all remote members of one backend from one Serve replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from deployments.members.replica import MemberReplica, MemberStatus
from deployments.observability.exporter import Exporter, keep_exporting
from deployments.observability.tracing.settings import TracingSettings
from deployments.providers.backend import RemoteBackend
from deployments.providers.chain import TracedRequests, replica_side
from deployments.providers.member import RemoteMember
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.resilient import Resilient
from deployments.resilience.retries import RetrySettings
from fusion.chat import Call, Completion
from fusion.errors import MemberUnavailable
from fusion.member import Emit

if TYPE_CHECKING:
    from deployments.observability.tracing.provider import Tracing


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How a replica reaches its backend, and what it wraps each member in."""

    backend: RemoteBackend
    """The API, shared by all members."""

    retries: RetrySettings
    """Each member has its own budget of retries."""

    breaker: BreakerSettings
    """Each member has its own breaker: a model that fails does not take the backend's other models away."""

    limits: LimitSettings
    """The replica's share of the backend's limits, for all members together."""

    tracing: TracingSettings | None = None
    """Where the spans of attempts go; None makes no spans."""

    max_ongoing: int = 256
    """Calls that the replica's sockets let in at once."""


class RemoteModel(TypedDict):
    """What a replica knows of one member. It is plain JSON, as Serve wants a `user_config` to be."""

    model: str
    """The model's name at the API."""

    omits: list[str]
    """Names of `Sampling`'s settings that are left out of its calls."""


class RemoteMembers:
    """Asks the members of one backend by the name that a call carries. They share one HTTP client and one limiter."""

    def __init__(self, settings: RemoteSettings) -> None:
        self._settings = settings
        self._client = settings.backend.client()
        self._limiter = Limiter(settings.limits)
        self._tracing = None if settings.tracing is None else _tracing(settings.tracing)
        self._models: dict[str, RemoteModel] = {}
        self.members: dict[str, Resilient] = {}
        """Each member in its wrappers, whose counters and breaker can be read."""

    def serve(self, models: Mapping[str, RemoteModel]) -> None:
        """Serve these members from here on. One whose model is unchanged keeps its breaker and budgets; calls under
        way end as they began."""
        for name in [name for name, model in self._models.items() if models.get(name) != model]:
            del self._models[name], self.members[name]
        for name, model in models.items():
            if name not in self._models:
                self._models[name] = model
                self.members[name] = self._chain(model)

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        member = self.members.get(call.member)
        if member is None:
            raise MemberUnavailable("its backend's replica does not serve it", member=call.member)
        return await member.ask(call, emit)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def status(self, name: str) -> MemberStatus:
        """Whether the member's calls would be made, and its breaker's state."""
        member = self.members.get(name)
        if member is None:
            return MemberStatus(ready=False)
        return MemberStatus(member.ready(), None if member.breaker is None else member.breaker.state)

    def _chain(self, model: RemoteModel) -> Resilient:
        settings = self._settings
        member = RemoteMember(settings.backend, model["model"], model["omits"], client=self._client)
        traced: TracedRequests | None = None
        if self._tracing is not None:
            url, streaming_url = (settings.backend.url(model["model"], stream=stream) for stream in (False, True))
            traced = TracedRequests(self._tracing, url, streaming_url)
        return replica_side(member, settings.retries, settings.breaker, self._limiter, traced)


class RemoteReplica(MemberReplica):
    """The Serve deployment of a remote backend. Its members arrive by `reconfigure`, so that a changed or another one
    restarts nothing."""

    def __init__(self, settings: RemoteSettings) -> None:
        self._members = RemoteMembers(settings)
        super().__init__(self._members)
        keep_exporting(Exporter(self._members.members).export)
        self.listen(settings.max_ongoing)
        # Serve awaits it when the replica is to end. On the class the interpreter would call it too, and not wait.
        self.__del__ = self.close

    async def reconfigure(self, models: Mapping[str, RemoteModel]) -> None:
        """Serve's hook for the deployment's `user_config`: the members by name. Called before the first call."""
        self._members.serve(models)

    async def status(self, members: Sequence[str]) -> dict[str, MemberStatus]:
        return {name: self._members.status(name) for name in members}


def _tracing(settings: TracingSettings) -> Tracing:
    from deployments.observability.identity import replica_name
    from deployments.observability.tracing.provider import Tracing

    return Tracing(settings, replica_name())
