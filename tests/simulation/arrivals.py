"""How many fused requests arrive, over time: a day, a restless hour or two, a crowd that comes all at once."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

PEAK_PER_S = 50_000.0

Rate = Callable[[float], float]
"""Arrivals a second at a time in seconds."""


@dataclass(frozen=True)
class Trace:
    """A named course of arrivals."""

    name: str
    rate: Rate
    lasts_s: float


def diurnal(hours: float = 24.0, peak_per_s: float = PEAK_PER_S) -> Trace:
    """A day: a tenth of the peak by night, two humps by day."""

    def rate(now: float) -> float:
        day = now / (hours * 3600)
        wave = 0.75 * math.sin(math.pi * day) ** 2 + 0.35 * math.sin(3 * math.pi * day) ** 2
        return peak_per_s * (0.1 + 0.9 * min(1.0, wave))

    return Trace("diurnal", rate, hours * 3600)


def bursty(hours: float = 2.0, peak_per_s: float = PEAK_PER_S, seed: int = 1) -> Trace:
    """A fifth of the peak, and bursts of up to the peak: one every four minutes or so, half a minute long or so, each
    there within two seconds."""
    dice = random.Random(seed)
    bursts: list[tuple[float, float, float]] = []
    at = 0.0
    while (at := at + 45 + dice.expovariate(1 / 195)) < hours * 3600:
        bursts.append((at, at + 10 + dice.expovariate(1 / 20), peak_per_s * dice.uniform(0.3, 1.0)))

    def rate(now: float) -> float:
        high = (top * min(1.0, (now - start) / 2) for start, end, top in bursts if start <= now < end)
        return max(peak_per_s / 5, max(high, default=0.0))

    return Trace("bursty", rate, hours * 3600)


def flash_crowd(hours: float = 1.0, peak_per_s: float = PEAK_PER_S) -> Trace:
    """A twenty-fifth of the peak; then the peak within half a minute, for ten minutes; then it thins out."""
    rest, begins, full, thins = peak_per_s / 25, 600.0, 630.0, 1230.0

    def rate(now: float) -> float:
        if now < begins:
            return rest
        if now < full:
            return rest + (peak_per_s - rest) * (now - begins) / (full - begins)
        return rest + (peak_per_s - rest) * math.exp(-max(0.0, now - thins) / 300)

    return Trace("flash crowd", rate, hours * 3600)
