"""What a wrapper counts, for whoever exports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Counted(Protocol):
    """Something that counts what it does."""

    def counters(self) -> Mapping[str, float]:
        """Plain numbers by name, cheap to read at any time: those that end in `_total` only grow, the others are
        what holds now."""
        ...
