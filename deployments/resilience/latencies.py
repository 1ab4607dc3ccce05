"""The durations of a member's recent calls."""

from __future__ import annotations

import math
from collections import deque


class Latencies:
    """The last `window` durations, in seconds."""

    def __init__(self, window: int) -> None:
        self._recent: deque[float] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, took_s: float) -> None:
        self._recent.append(took_s)

    def quantile(self, share: float) -> float:
        """The smallest recent duration that at least this share of them did not exceed (nearest rank)."""
        ranked = sorted(self._recent)
        return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
