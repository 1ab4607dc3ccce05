"""Reaches a backend's members through its Serve handle, and translates Ray's errors into those of `fusion.errors`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from grpc import RpcError
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from deployments.members.model_limits import ModelLimits
from deployments.members.replica import MemberStatus
from fusion.chat import Call, Completion, Delta
from fusion.errors import MalformedReply, MemberError, MemberOverloaded, MemberUnavailable
from fusion.member import Emit

_DIED = (RayActorError, RpcError)
"""The errors of a call whose replica died: Ray's own, and those of Serve's connection to it."""


class HandleMember:
    """The members of one backend, reached through the handle of the deployment that wraps them.

    A call that is not streamed crosses as one item each way. When the replica that has it dies, the call goes to
    another one, once, unless a part of the answer was emitted.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        # Serve's default, cloudpickle, takes twice as long, and all these values are of importable classes.
        handle = handle.options(request_serialization="pickle", response_serialization="pickle")
        self._asking: Any = handle.options(method_name="ask")
        self._watching: Any = handle.options(method_name="watch", stream=True)
        self._counting: Any = handle.options(method_name="count")
        self._limits: Any = handle.options(method_name="limits")
        self._status: Any = handle.options(method_name="status")

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        ends_at = asyncio.get_running_loop().time() + call.timeout_s
        try:
            try:
                outcome = await self._outcome(call, emit)
            except _DIED:
                left_s = ends_at - asyncio.get_running_loop().time()
                outcome = await self._outcome(replace(call, timeout_s=left_s), emit)
        except (RayError, RayServeException, RequestCancelledError, RpcError) as error:
            raise member_error_from(error, call.member) from error
        if isinstance(outcome, MemberError):
            raise outcome
        if not isinstance(outcome, Completion):
            raise MalformedReply(f"a {type(outcome).__name__} instead of a completion", member=call.member)
        return outcome

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        """Count the tokens of the call's prompt, then of each text, with the backend's tokenizer.

        Raises:
            MemberError: they cannot be counted.
        """
        counted = await _reply(self._counting.remote(call, tuple(texts)), call.member)
        if isinstance(counted, MemberError):
            raise counted
        return counted

    async def limits(self) -> ModelLimits:
        """Ask for the limits of the backend's model; waits for a replica.

        Raises:
            MemberError: no replica answers.
        """
        return await _reply(self._limits.remote())

    async def status(self, members: Sequence[str]) -> Mapping[str, MemberStatus]:
        """The status of these members at one replica; ask with a timeout, for a deployment without replicas never
        answers."""
        response = self._status.remote(tuple(members))
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except (RayError, RayServeException, RequestCancelledError):
            return dict.fromkeys(members, MemberStatus(ready=False))

    async def _outcome(self, call: Call, emit: Emit | None) -> object:
        return await (self._ask(call) if emit is None else self._watch(call, emit))

    async def _ask(self, call: Call) -> object:
        response = self._asking.remote(call)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    async def _watch(self, call: Call, emit: Emit) -> object:
        response = self._watching.remote(call)
        outcome: object = None
        emitted = False
        try:
            async for item in response:
                if isinstance(item, tuple):
                    emitted = True
                    for delta in cast("tuple[Delta, ...]", item):
                        emit(delta)
                else:
                    outcome = item
        except asyncio.CancelledError:
            response.cancel()
            raise
        except _DIED as error:
            if not emitted:
                raise
            raise member_error_from(error, call.member) from error
        return outcome


async def _reply(response: Any, member: str | None = None) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except (RayError, RayServeException, RequestCancelledError, RpcError) as error:
        raise member_error_from(error, member) from error


def member_error_from(error: Exception, member: str | None) -> MemberError:
    """Translate the error of a handle's call: the replicas are full or gone, or one raised."""
    if isinstance(error, BackPressureError):
        return MemberOverloaded("its queue is full", member=member)
    if isinstance(error, DeploymentUnavailableError):
        return MemberUnavailable("no replica of it is up", member=member)
    return MemberUnavailable(f"its replica failed ({type(error).__name__})", member=member)
