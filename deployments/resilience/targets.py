"""The hedge and the fallbacks of a member."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Targets:
    """Other members, by name, that calls to a member may go to.

    `hedge` is asked too when the member is slower than it usually is: another member or, by the member's own name,
    another replica of it. `fallbacks` are asked in their order when it cannot answer.
    """

    hedge: str | None = None
    fallbacks: tuple[str, ...] = ()
