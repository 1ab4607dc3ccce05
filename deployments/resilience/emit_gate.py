"""Who may write to a watched answer."""

from __future__ import annotations

from fusion.chat import Delta
from fusion.member import Emit

NOTHING = Delta()


class Outlet:
    """Where one call's deltas go: on to whoever watches, until it is closed.

    A call that was given up may go on writing for a moment; what it writes then must not reach an answer that another
    call has begun. `emitted` says whether anything of the answer has been handed on: from then on no other call can
    take this one's place.
    """

    def __init__(self, emit: Emit | None) -> None:
        self._emit = emit
        self.emitted = False

    @property
    def emit(self) -> Emit | None:
        """What to hand to the call: None when nobody watches."""
        return None if self._emit is None else self._hand_on

    def close(self) -> None:
        """Drop whatever comes from now on."""
        self._emit = None

    def _hand_on(self, delta: Delta) -> None:
        if self._emit is not None:
            self.emitted = self.emitted or delta != NOTHING
            self._emit(delta)
