"""Asks other members when one cannot answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployments.resilience.emit_gate import EmitGate
from fusion.chat import Call, Completion
from fusion.errors import BreakerOpen, LimitReached, MemberError
from fusion.member import Emit, Member


class FallbackTarget:
    """Sends calls to another member to the member `name` instead, with its own system prompt and sampling, and names it
    in `answered_by`."""

    def __init__(self, member: Member, name: str) -> None:
        self._member = member
        self.name = name

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        completion = await self._member.ask(replace(call, member=self.name), emit)
        return replace(completion, answered_by=completion.answered_by or self.name)


class FallingBack:
    """Asks the fallbacks, in their order, when `member` fails with a retryable error, its breaker is open, or it is at
    its limits; each as long as no part of an answer was emitted and time is left.

    Fallbacks have no fallbacks of their own, so that no call goes round in circles. When all fail, the error raised is
    that of the member that was asked for.
    """

    def __init__(self, member: Member, fallbacks: Sequence[FallbackTarget]) -> None:
        self._member = member
        self._fallbacks = fallbacks
        self._asked = 0
        self._answered = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + call.timeout_s
        failure: MemberError | None = None
        for member in (self._member, *self._fallbacks):
            if failure is not None:
                left_s = ends_at - loop.time()
                if left_s <= 0:
                    break
                call = replace(call, timeout_s=left_s)
                self._asked += 1
            gate = EmitGate(emit)
            try:
                completion = await member.ask(call, gate.emit)
            except MemberError as error:
                if gate.emitted:
                    raise
                failure = failure or error
                if member is self._member and not _falls_back(error):
                    raise
            else:
                self._answered += failure is not None
                return completion
            finally:
                gate.close()
        assert failure is not None
        raise failure

    def counters(self) -> Mapping[str, float]:
        return {"fallbacks_total": self._asked, "fallbacks_answered_total": self._answered}


def _falls_back(error: MemberError) -> bool:
    return error.retryable or isinstance(error, BreakerOpen | LimitReached)
