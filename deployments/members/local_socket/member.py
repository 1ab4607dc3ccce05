"""Reaches a deployment's replicas over sockets where they are on this machine, and through its handle otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.members.handle import HandleMember
from deployments.members.local_socket.client import Connection, ConnectionLost, LocalReplicas, ReplicaFull
from deployments.members.local_socket.known_replicas import KnownReplicas, replicas_of
from deployments.members.local_socket.paths import sockets_of
from deployments.members.local_socket.protocol import this_cluster
from deployments.members.model_limits import ModelLimits
from deployments.members.replica import MemberStatus
from fusion.chat import Call, Completion
from fusion.errors import MalformedReply, MemberError, MemberUnavailable
from fusion.member import Emit


class LocalFirstMember:
    """The members of one backend, asked over a socket as long as the replica there is no busier than the others.

    Every caller spreads its own calls: a replica with a socket is sent a call while it has at most as many of them
    under way as, on average, the replicas that are reached through the handle alone (`SocketAwareRouter` keeps the
    handle's calls to those). Until Serve has reported which replicas run, calls go through the handle.

    When a replica ends during a call, the call goes through the handle, unless a part of the answer is out already.
    """

    def __init__(self, member: HandleMember, local: LocalReplicas, replicas: KnownReplicas) -> None:
        self._member = member
        self._local = local
        self._replicas = replicas
        self._through_handle = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        connection = self._connection()
        if connection is None:
            return await self._ask_handle(call, emit)
        try:
            outcome = await connection.ask(call, emit)
        except ReplicaFull:
            return await self._ask_handle(call, emit)
        except ConnectionLost as lost:
            if lost.emitted:
                raise MemberUnavailable("its replica ended during the answer", member=call.member) from lost
            return await self._ask_handle(call, emit)
        if isinstance(outcome, Completion):
            return outcome
        if isinstance(outcome, MemberError):
            raise outcome
        raise MalformedReply(f"a {type(outcome).__name__} instead of a completion", member=call.member)

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        return await self._member.count(call, texts)

    async def limits(self) -> ModelLimits:
        return await self._member.limits()

    async def status(self, members: Sequence[str]) -> Mapping[str, MemberStatus]:
        return await self._member.status(members)

    def _connection(self) -> Connection | None:
        """The connection to ask over, None where the handle is to be asked."""
        connection, elsewhere = self._local.least_busy(), self._replicas.elsewhere
        if connection is None or elsewhere is None or connection.under_way * elsewhere > self._through_handle:
            return None
        return connection

    async def _ask_handle(self, call: Call, emit: Emit | None) -> Completion:
        self._through_handle += 1
        try:
            return await self._member.ask(call, emit)
        finally:
            self._through_handle -= 1


Reached = HandleMember | LocalFirstMember
"""The members of one backend, as a judge reaches them."""


def reach(handle: DeploymentHandle[Any], *, local_sockets: bool) -> Reached:
    """The members that a deployment serves. With `local_sockets` its replicas listen for calls from their own machine,
    and its request router is `SocketAwareRouter`."""
    member = HandleMember(handle)
    if not local_sockets:
        return member
    where = handle.deployment_id
    folder = sockets_of(this_cluster(), where.app_name, where.name)
    if folder is None:
        return member
    known = replicas_of(where.app_name, where.name)
    return LocalFirstMember(member, LocalReplicas(folder, known), known)
