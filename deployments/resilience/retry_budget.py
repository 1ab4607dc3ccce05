"""A budget of calls beyond those that were asked for."""

from __future__ import annotations

MAX_SAVED = 10
"""The largest balance that calls can save up, so that a bad minute is not met with a burst of retries."""


class RetryBudget:
    """A token bucket: each call deposits `percent` % of a retry, and `reserve` retries are there from the start.

    Over any sequence of n calls the retries are at most `reserve + n * percent / 100`. The arithmetic is in whole
    hundredths, so that rounding adds nothing. Hedges have such a budget too.
    """

    def __init__(self, *, percent: int, reserve: int) -> None:
        self._percent = percent
        self._max = 100 * max(MAX_SAVED, reserve)
        self._hundredths = 100 * reserve

    @property
    def left(self) -> int:
        """Retries that may be made now."""
        return self._hundredths // 100

    def deposit(self) -> None:
        """Count a call that was asked for."""
        self._hundredths = min(self._hundredths + self._percent, self._max)

    def try_spend(self) -> bool:
        """Pay for a retry. Returns whether the budget allows it."""
        if self._hundredths < 100:
            return False
        self._hundredths -= 100
        return True

    def refund(self) -> None:
        """Take back the payment for a retry that was not made."""
        self._hundredths = min(self._hundredths + 100, self._max)
