"""Repeats calls after errors that may pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deployments.resilience.emit_gate import EmitGate
from deployments.resilience.retry_budget import RetryBudget
from fusion.chat import Call, Completion, Usage
from fusion.errors import MemberError, MemberOverloaded
from fusion.member import Emit, Member


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """`attempts` counts the first one. Before the n-th repetition the wait is drawn evenly from zero to
    `first_backoff_s * 2**(n-1)`, at most `max_backoff_s` ("full jitter", Brooker 2015, "Exponential Backoff And
    Jitter"). Repetitions are at most `budget_percent` of the calls, plus `budget_reserve` that are there from the
    start."""

    attempts: int = 3
    max_backoff_s: float = 8.0
    first_backoff_s: float = 0.5
    budget_percent: int = 10
    budget_reserve: int = 3


class Retrying:
    """Repeats a call whose error is `retryable`, as long as no part of an answer was emitted.

    An overload is not amplified: one without `retry_after_s` is not repeated, one with it is repeated once, not before
    that time, and out of the same budget; when the time lies beyond the call's end, the call fails at once. What our
    own limits refused is not repeated at all.

    Each attempt has what is left of `call.timeout_s`. The error raised is the last attempt's. The usage reported is
    that of all attempts, as far as it is known.
    """

    def __init__(self, member: Member, settings: RetrySettings, *, rng: random.Random) -> None:
        self._member = member
        self._settings = settings
        self._rng = rng
        self._budget = RetryBudget(percent=settings.budget_percent, reserve=settings.budget_reserve)
        self._retries = 0
        self._over_budget = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + call.timeout_s
        attempt = 1
        overloads = 0
        spent: Usage | None = None
        self._budget.deposit()
        while True:
            gate = EmitGate(emit)
            try:
                completion = await self._member.ask(call, gate.emit)
                if spent is None or completion.usage is None:
                    return completion
                return replace(completion, usage=spent + completion.usage)
            except MemberError as error:
                error.usage = spent = _sum(spent, error.usage)
                overloads += isinstance(error, MemberOverloaded)
                wait_s = self._wait_s(error, attempt, overloads, ends_at - loop.time())
                if gate.emitted or wait_s is None or not self._affordable():
                    raise
                failure = error
            finally:
                gate.close()
            try:
                await asyncio.sleep(wait_s)
            except BaseException:
                self._budget.refund()
                raise
            left_s = ends_at - loop.time()
            if left_s <= 0:
                self._budget.refund()
                raise failure
            call = replace(call, timeout_s=left_s)
            attempt += 1
            self._retries += 1

    def counters(self) -> Mapping[str, float]:
        return {
            "retries_total": self._retries,
            "retries_over_budget_total": self._over_budget,
            "retry_budget_left": self._budget.left,
        }

    def _wait_s(self, error: MemberError, attempt: int, overloads: int, left_s: float) -> float | None:
        """How long to wait before the next attempt, None when there must not be one."""
        settings = self._settings
        if not error.retryable or attempt >= settings.attempts:
            return None
        most_s = min(settings.max_backoff_s, settings.first_backoff_s * 2.0 ** (attempt - 1))
        not_before_s = 0.0
        if isinstance(error, MemberOverloaded):
            if error.retry_after_s is None or overloads > 1 or not error.retry_after_s < left_s:
                return None
            not_before_s = max(0.0, error.retry_after_s)
            # All that were refused together come back together: spread them, and leave each some time to be answered.
            most_s = min(most_s, (left_s - not_before_s) / 2)
        wait_s = not_before_s + self._rng.uniform(0.0, most_s)
        return wait_s if wait_s < left_s else None

    def _affordable(self) -> bool:
        affordable = self._budget.try_spend()
        self._over_budget += not affordable
        return affordable


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    return one + other if one and other else one or other
