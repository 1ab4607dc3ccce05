"""A member in its wrappers, with what they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from deployments.resilience.breaker import Breaking
from fusion.chat import Call, Completion
from fusion.member import Emit, Member


class Counted(Protocol):
    """Something that counts what it does."""

    def counters(self) -> Mapping[str, float]:
        """Numbers by name, cheap to read at any time: those that end in `_total` only grow, the others hold now."""
        ...


@dataclass(frozen=True, slots=True)
class Resilient:
    """A member in its wrappers."""

    outermost: Member
    counted: tuple[Counted, ...]
    breaker: Breaking | None = None

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        return await self.outermost.ask(call, emit)

    def ready(self) -> bool:
        """Whether a call would be made at all: not while the breaker is open."""
        return self.breaker is None or self.breaker.ready()

    def counters(self) -> Mapping[str, float]:
        """The numbers of all wrappers."""
        return {name: number for part in self.counted for name, number in part.counters().items()}
