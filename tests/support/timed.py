"""A member that keeps to its call's time, as a remote member does and a scripted one does not."""

from __future__ import annotations

import asyncio

from fusion.chat import Call, Completion
from fusion.errors import MemberTimeout
from fusion.member import Emit, Member


class Timed:
    """Ends a call after its `timeout_s`, and after `total_s` where that is less.

    Raises:
        MemberTimeout: the time is over.
    """

    def __init__(self, member: Member, total_s: float = float("inf")) -> None:
        self._member = member
        self._total_s = total_s

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        timeout = asyncio.timeout(min(call.timeout_s, self._total_s))
        try:
            async with timeout:
                return await self._member.ask(call, emit)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise MemberTimeout("no answer in time", member=call.member) from error
