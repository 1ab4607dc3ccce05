"""Members whose replicas are asked over a Unix socket where one is on this machine, and through their handle else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.members.handle import HandleMember
from deployments.members.local_socket.client import Gone, LocalReplicas, NotHere
from deployments.members.local_socket.paths import sockets_of
from deployments.members.local_socket.protocol import this_cluster
from deployments.members.model_limits import ModelLimits
from deployments.members.replica import MemberStatus
from fusion.chat import Call, Completion
from fusion.errors import MalformedReply, MemberError, MemberUnavailable
from fusion.member import Emit


class AskingNearby:
    """A member that is behind a handle, asked the short way where that is possible.

    When a replica ends in the middle of a call, the call goes through the handle, unless a part of the answer is out
    already.
    """

    def __init__(self, member: HandleMember, local: LocalReplicas) -> None:
        self._member = member
        self._local = local

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        try:
            outcome = await self._local.ask(call, emit)
        except NotHere:
            return await self._member.ask(call, emit)
        except Gone as gone:
            if gone.emitted:
                raise MemberUnavailable("its replica ended in mid-answer", member=call.member) from gone
            return await self._member.ask(call, emit)
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


def member_behind(handle: DeploymentHandle[Any]) -> HandleMember | AskingNearby:
    """The members that a deployment serves."""
    member = HandleMember(handle)
    where = handle.deployment_id
    folder = sockets_of(this_cluster(), where.app_name, where.name)
    return member if folder is None else AskingNearby(member, LocalReplicas(folder))
