"""Limits a backend's calls at once, and its calls and tokens a minute."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fusion.chat import Call, Completion, Usage
from fusion.errors import LimitReached, MemberError
from fusion.member import Emit, Member

MINUTE_S = 60.0

MIN_RETRY_AFTER_S = 1.0
"""The `retry_after_s` of a refusal whose end is not known: when a call ends."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Calls under way at once, calls started and tokens used in any minute (None is no limit), and how many calls may
    wait for a slot."""

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_queued: int = 256


class Limiter:
    """Admits calls in the order they came, within the limits. Members that share a backend share its limiter.

    In no 60 seconds does it admit more calls than allowed (a log of their times, not a bucket that lets a burst and its
    refill through in one window). Tokens are known only after a call, from the usage that the backend reports: while a
    minute's sum is at the limit no call is admitted, and what was under way may overshoot it.
    """

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._started: deque[float] = deque()
        self._used: deque[tuple[float, int]] = deque()
        self._used_tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self.running = 0

    @property
    def queued(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    async def enter(self, timeout_s: float, member: str | None = None) -> None:
        """Wait for a slot, at most `timeout_s`, and take it. `leave` frees it.

        Raises:
            LimitReached: the queue is full, or the slot would come too late. `retry_after_s` is when the limits a
                minute admit another call, at least a second.
        """
        now = _now()
        wait_s = self._wait_at_least_s(now)
        if wait_s == 0 and not self._waiting and self._has_room():
            self._start(now)
            return
        if self.queued >= self._settings.max_queued:
            raise LimitReached(
                f"{self.queued} calls are queued already", member=member, retry_after_s=_retry_after_s(wait_s)
            )
        if wait_s >= timeout_s:
            raise LimitReached(
                f"rate limit: no slot within {timeout_s:.1f} s",
                member=member,
                retry_after_s=_retry_after_s(wait_s),
            )
        slot: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(slot)
        self._admit()
        timeout = asyncio.timeout(timeout_s)
        try:
            async with timeout:
                await slot
        except TimeoutError as error:
            self._abandon(slot)
            raise LimitReached(
                f"no slot within {timeout_s:.1f} s",
                member=member,
                retry_after_s=_retry_after_s(self._wait_at_least_s(_now())),
            ) from error
        except BaseException:
            self._abandon(slot)
            raise

    def leave(self, usage: Usage | None = None) -> None:
        """Free the slot of a call that ended, with its usage where that is known."""
        self.running -= 1
        if usage is not None and self._settings.tokens_per_minute is not None:
            tokens = usage.input_tokens + usage.output_tokens
            self._used.append((_now(), tokens))
            self._used_tokens += tokens
        self._admit()

    def _abandon(self, slot: asyncio.Future[float]) -> None:
        """Leave the queue, or free a slot that came too late: no call was made with it."""
        if slot.done() and not slot.cancelled():
            self.running -= 1
            if self._settings.requests_per_minute is not None and slot.result() in self._started:
                self._started.remove(slot.result())
        elif slot in self._waiting:
            self._waiting.remove(slot)
        self._admit()

    def _admit(self) -> None:
        """Give slots to the calls whose time has come, and wake up for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = _now()
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            if not self._has_room():
                return
            opens_at = self._opens_at(now)
            if opens_at > now:
                self._timer = asyncio.get_running_loop().call_at(opens_at, self._admit)
                return
            self._start(now)
            self._waiting.popleft().set_result(now)

    def _start(self, now: float) -> None:
        self.running += 1
        if self._settings.requests_per_minute is not None:
            self._started.append(now)

    def _has_room(self) -> bool:
        return self._settings.concurrency is None or self.running < self._settings.concurrency

    def _opens_at(self, now: float) -> float:
        """When the limits a minute admit the next call, not before now."""
        self._forget(now)
        at = now
        requests = self._settings.requests_per_minute
        if requests is not None and len(self._started) >= requests:
            at = self._started[len(self._started) - requests] + MINUTE_S
        return max(at, self._tokens_open_at(now))

    def _tokens_open_at(self, now: float) -> float:
        limit = self._settings.tokens_per_minute
        at = now
        if limit is not None and self._used_tokens >= limit:
            left = self._used_tokens
            for used_at, tokens in self._used:
                left -= tokens
                at = used_at + MINUTE_S
                if left < limit:
                    break
        return at

    def _wait_at_least_s(self, now: float) -> float:
        """The shortest wait of a call that queued now, as far as the limits a minute tell."""
        at = self._opens_at(now)
        requests = self._settings.requests_per_minute
        if requests is not None:
            minutes, place = divmod(self.queued + len(self._started), requests)
            if minutes > 0:
                started_at = self._started[place] if place < len(self._started) else now
                at = max(at, started_at + MINUTE_S * minutes)
        return max(0.0, at - now)

    def _forget(self, now: float) -> None:
        while self._started and self._started[0] + MINUTE_S <= now:
            self._started.popleft()
        while self._used and self._used[0][0] + MINUTE_S <= now:
            self._used_tokens -= self._used.popleft()[1]


class Limiting:
    """Makes calls within its limiter's limits, and waits for a slot at most as long as the call may take.

    Raises:
        LimitReached: no slot was free in time.
    """

    def __init__(self, member: Member, limiter: Limiter) -> None:
        self._member = member
        self._limiter = limiter
        self._running = 0
        self._queued = 0
        self._waits = 0
        self._waited_s = 0.0
        self._refused = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        began_at = _now()
        self._queued += 1
        try:
            await self._limiter.enter(call.timeout_s, call.member)
        except LimitReached:
            self._refused += 1
            raise
        finally:
            self._queued -= 1
        self._running += 1
        usage: Usage | None = None
        try:
            if waited_s := _now() - began_at:
                self._waits += 1
                self._waited_s += waited_s
                call = replace(call, timeout_s=call.timeout_s - waited_s)
            completion = await self._member.ask(call, emit)
            usage = completion.usage
            return completion
        except MemberError as error:
            usage = error.usage
            raise
        finally:
            self._running -= 1
            self._limiter.leave(usage)

    def counters(self) -> Mapping[str, float]:
        return {
            "limit_waits_total": self._waits,
            "limit_wait_seconds_total": self._waited_s,
            "limit_refusals_total": self._refused,
            "limit_running": self._running,
            "limit_queued": self._queued,
        }


def _retry_after_s(wait_s: float) -> float:
    return max(MIN_RETRY_AFTER_S, wait_s)


def _now() -> float:
    return asyncio.get_running_loop().time()
