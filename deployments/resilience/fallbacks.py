"""Others that stand in for a member that cannot answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployments.resilience.emit_gate import Outlet
from fusion.chat import Call, Completion
from fusion.errors import BreakerOpen, LimitReached, MemberError
from fusion.member import Emit, Member


class StandingIn:
    """Answers calls to another member as the member `name`, in its own voice, and says so: `answered_by`."""

    def __init__(self, member: Member, name: str) -> None:
        self._member = member
        self.name = name

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        completion = await self._member.ask(replace(call, member=self.name), emit)
        return replace(completion, answered_by=completion.answered_by or self.name)


class FallingBack:
    """Asks the stand-ins, in their order, when `member` fails with a retryable error, is left alone by its breaker, or
    is at its limits; each as long as nothing of an answer was handed on and time is left.

    Stand-ins are given without stand-ins of their own, so that no call goes round in circles. When all fail, the
    error raised is that of the member that was asked for.
    """

    def __init__(self, member: Member, stand_ins: Sequence[StandingIn]) -> None:
        self._member = member
        self._stand_ins = stand_ins
        self._asked = 0
        self._answered = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + call.timeout_s
        failure: MemberError | None = None
        for member in (self._member, *self._stand_ins):
            if failure is not None:
                left_s = ends_at - loop.time()
                if left_s <= 0:
                    break
                call = replace(call, timeout_s=left_s)
                self._asked += 1
            outlet = Outlet(emit)
            try:
                completion = await member.ask(call, outlet.emit)
            except MemberError as error:
                if outlet.emitted:
                    raise
                failure = failure or error
                if member is self._member and not _may_be_stood_in_for(error):
                    raise
            else:
                self._answered += failure is not None
                return completion
            finally:
                outlet.close()
        assert failure is not None
        raise failure

    def counters(self) -> Mapping[str, float]:
        return {"fallbacks_total": self._asked, "fallbacks_answered_total": self._answered}


def _may_be_stood_in_for(error: MemberError) -> bool:
    return error.retryable or isinstance(error, BreakerOpen | LimitReached)
