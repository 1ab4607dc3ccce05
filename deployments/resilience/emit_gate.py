"""A gate between a call and the receiver of its deltas."""

from __future__ import annotations

from fusion.chat import Delta
from fusion.member import Emit

NOTHING = Delta()


class EmitGate:
    """Passes one call's deltas on until it is closed.

    An abandoned call may go on emitting for a moment, and that must not reach an answer that another call has begun.
    `emitted` says whether a part of the answer was passed on: after that no other call can take this one's place.
    """

    def __init__(self, emit: Emit | None) -> None:
        self._emit = emit
        self.emitted = False

    @property
    def emit(self) -> Emit | None:
        """The `emit` to give to the call: None when the answer is not streamed."""
        return None if self._emit is None else self._pass_on

    def close(self) -> None:
        """Drop every further delta."""
        self._emit = None

    def _pass_on(self, delta: Delta) -> None:
        if self._emit is not None:
            self.emitted = self.emitted or delta != NOTHING
            self._emit(delta)
