"""Time limits of a call, for whatever does not keep its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fusion.chat import Call, Completion, Delta
from fusion.errors import MemberTimeout
from fusion.member import Emit, Member


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds allowed for a whole call and, where someone watches, for the first delta and between deltas; None is no
    limit but the call's own. Connecting is timed where the connection is made."""

    first_token_s: float | None = None
    idle_s: float | None = None
    total_s: float | None = None


class TimeLimiting:
    """Ends a call that takes too long. `call.timeout_s` caps every limit.

    Raises:
        MemberTimeout: one of the limits was reached.
    """

    def __init__(self, member: Member, limits: TimeLimits) -> None:
        self._member = member
        self._limits = limits
        self._ran_out = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        loop = asyncio.get_running_loop()
        limits = self._limits
        total_s = _least(call.timeout_s, limits.total_s)
        ends_at = loop.time() + total_s
        if total_s < call.timeout_s:
            call = replace(call, timeout_s=total_s)
        missing = f"no answer within {total_s:.1f} s"
        hand_on: Emit | None = None
        over = False
        timeout = asyncio.timeout_at(ends_at)
        if emit is not None:
            first_s = _least(total_s, limits.first_token_s)
            missing = f"no first token within {first_s:.1f} s"
            timeout = asyncio.timeout_at(loop.time() + first_s)

            def heard(delta: Delta) -> None:
                nonlocal missing
                if over or timeout.expired():
                    return
                next_at = ends_at if limits.idle_s is None else loop.time() + limits.idle_s
                missing = f"no end within {total_s:.1f} s" if next_at >= ends_at else f"no token for {limits.idle_s} s"
                timeout.reschedule(min(next_at, ends_at))
                emit(delta)

            hand_on = heard
        try:
            async with timeout:
                return await self._member.ask(call, hand_on)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            self._ran_out += 1
            raise MemberTimeout(missing, member=call.member) from error
        finally:
            over = True

    def counters(self) -> Mapping[str, float]:
        return {"time_limits_reached_total": self._ran_out}


def _least(first_s: float, other_s: float | None) -> float:
    return first_s if other_s is None else min(first_s, other_s)
