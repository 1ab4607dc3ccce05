"""A circuit breaker: refuses calls to a failing backend until it recovers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fusion.chat import Call, Completion
from fusion.errors import (
    BreakerOpen,
    EmptyCompletion,
    LimitReached,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)
from fusion.member import Emit, Member

State = Literal["closed", "half-open", "open"]
Health = Literal["healthy", "failing", "unknown"]
"""What the outcome of a call says of its backend."""

REMEMBERED = 1000
"""The most outcomes that are kept of a window."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    It opens at the `failures`-th failure within `window_s` if failures are at least `failure_share` of the outcomes in
    that time, for `cooldown_s`. A call that used up its own `timeout_s` is a failure only if that was at least
    `fair_timeout_s`: a client in a hurry must not take a slow backend away from everyone else.
    """

    failures: int = 5
    window_s: float = 30.0
    cooldown_s: float = 20.0
    failure_share: float = 0.5
    fair_timeout_s: float = 10.0


@dataclass(eq=False, slots=True)
class Admission:
    """A call that was admitted."""


class Breaker:
    """The state machine, without a clock or I/O: `now` is in seconds on any clock that only goes forward.

    Closed, it admits everything. Open, nothing. After the cool-down it is half-open and admits one call as a probe: if
    that finds the backend healthy it closes, if failing it opens again, and if the outcome is unknown (the call was
    cancelled, say) the next call is the probe. Calls that were admitted before it opened do not count.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._ended: deque[tuple[float, bool]] = deque(maxlen=REMEMBERED)
        self._under_way: dict[Admission, None] = {}
        self._probe: Admission | None = None
        self._opened = 0
        self.open_until: float | None = None
        """When the last cool-down ends or ended; None while closed."""

    @property
    def opened(self) -> int:
        """How often it has opened."""
        return self._opened

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def ready(self, now: float) -> bool:
        """Whether a call would be admitted."""
        return self.open_until is None or (now >= self.open_until and self._probe is None)

    def admit(self, now: float) -> Admission | None:
        """Admit a call; None refuses it. Report the end of each admitted call with `ended`."""
        if not self.ready(now):
            return None
        admission = Admission()
        if self.open_until is None:
            self._under_way[admission] = None
        else:
            self._probe = admission
        return admission

    def ended(self, admission: Admission, health: Health, now: float) -> None:
        """Count the end of an admitted call, by what it says of the backend."""
        if admission is self._probe:
            self._probe = None
            if health == "failing":
                self._open(now)
            elif health == "healthy":
                self.open_until = None
        elif admission in self._under_way:
            pending = self._started_before(admission)
            del self._under_way[admission]
            if health != "unknown":
                self._ended.append((now, health == "failing"))
            if health == "failing" and self._exceeds(pending, now):
                self._open(now)

    def _exceeds(self, pending: int, now: float) -> bool:
        recent = [failed for at, failed in self._ended if at + self._settings.window_s > now]
        failures = sum(recent)
        share = failures / (len(recent) + pending)
        return failures >= self._settings.failures and share >= self._settings.failure_share

    def _started_before(self, admission: Admission) -> int:
        """The calls under way that started before this one.

        They count as successes: else the quick failures of a burst would be all there is while its good calls are still
        being answered, and a backend that fails one call in ten would look dead.
        """
        for count, other in enumerate(self._under_way):
            if other is admission:
                return count
        raise AssertionError("unreachable")

    def _open(self, now: float) -> None:
        self.open_until = now + self._settings.cooldown_s
        self._opened += 1
        self._ended.clear()
        self._under_way.clear()


class Breaking:
    """Fails a call at once while its breaker is open.

    A timeout, an unreachable backend, a malformed reply and a provider's own overload are failures. A completion is
    health, and so is a refusal of the request or of the key, or an empty completion: the backend answered. Cancelled
    calls, what our own limits refused, and errors outside of `fusion.errors` count for nothing.

    Raises:
        BreakerOpen: the call was not made.
    """

    def __init__(self, member: Member, settings: BreakerSettings) -> None:
        self._member = member
        self._settings = settings
        self._breaker = Breaker(settings)
        self._refused = 0

    @property
    def state(self) -> State:
        return self._breaker.state(_now())

    @property
    def open_until(self) -> float | None:
        """The event loop's time at which the last cool-down ends or ended; None while closed."""
        return self._breaker.open_until

    def ready(self) -> bool:
        """Whether a call would be made now."""
        return self._breaker.ready(_now())

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        began_at = _now()
        admission = self._breaker.admit(began_at)
        if admission is None:
            self._refused += 1
            open_s = max(0.0, (self._breaker.open_until or began_at) - began_at)
            raise BreakerOpen(f"its breaker is {self.state}", member=call.member, retry_after_s=open_s)
        health: Health = "unknown"
        try:
            completion = await self._member.ask(call, emit)
            health = "healthy"
            return completion
        except MemberError as error:
            health = self._health(error, call.timeout_s, _now() - began_at)
            raise
        finally:
            self._breaker.ended(admission, health, _now())

    def counters(self) -> Mapping[str, float]:
        states: Mapping[State, int] = {"closed": 0, "half-open": 1, "open": 2}
        return {
            "breaker_state": states[self.state],
            "breaker_openings_total": self._breaker.opened,
            "breaker_refusals_total": self._refused,
        }

    def _health(self, error: MemberError, timeout_s: float, took_s: float) -> Health:
        match error:
            case LimitReached() | BreakerOpen():
                return "unknown"
            case MemberTimeout():
                used_up = took_s >= 0.95 * timeout_s
                return "unknown" if used_up and timeout_s < self._settings.fair_timeout_s else "failing"
            case MemberUnavailable() | MemberOverloaded() | MalformedReply():
                return "failing"
            case MemberRejected() | MemberUnauthorized() | EmptyCompletion():
                return "healthy"
            case _:
                return "unknown"


def _now() -> float:
    return asyncio.get_running_loop().time()
