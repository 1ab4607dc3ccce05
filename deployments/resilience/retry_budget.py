"""How many calls may be made beyond those that were asked for."""

from __future__ import annotations

MOST_SAVED = 10
"""Extra calls that a quiet time can save up, so that a bad minute is not met with a burst of them."""


class ExtraCalls:
    """A token bucket: every call earns `percent` hundredths of an extra one, and `reserve` are there from the start.

    Over any sequence of n calls the extra ones are at most `reserve + n * percent / 100`. The arithmetic is in whole
    hundredths, so that rounding adds nothing.
    """

    def __init__(self, *, percent: int, reserve: int) -> None:
        self._percent = percent
        self._most = 100 * max(MOST_SAVED, reserve)
        self._hundredths = 100 * reserve

    @property
    def left(self) -> int:
        """Extra calls that may be made now."""
        return self._hundredths // 100

    def earn(self) -> None:
        """A call was asked for."""
        self._hundredths = min(self._hundredths + self._percent, self._most)

    def take(self) -> bool:
        """Whether an extra call may be made; if so it is paid for."""
        if self._hundredths < 100:
            return False
        self._hundredths -= 100
        return True

    def give_back(self) -> None:
        """An extra call that was paid for was not made."""
        self._hundredths = min(self._hundredths + 100, self._most)
