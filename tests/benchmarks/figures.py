"""Runs become figures: medians over the rounds, how far they spread, and ratios between contenders of one round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.contenders import FLOOR, FUSION
from tests.benchmarks.measure import Measured

Read = Callable[[Measured], float | None]


@dataclass(frozen=True, slots=True)
class Run:
    """What one contender did at one work in one round."""

    round: int
    contender: str
    work: str
    measured: Measured


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is read off a work's runs."""

    work: str
    name: str
    unit: str
    read: Read


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of Fusion Cluster's, or its ratio to another contender's, is to be."""

    says: str
    figure: Figure
    beside: str | None
    at_most: float | None = None
    at_least: float | None = None
    above: bool = False
    """Whether it is the difference to the other's that counts, not the ratio."""


def _all_cpu_ms(measured: Measured) -> float | None:
    return sum(measured.cpu_ms.values()) if measured.right else None


def _replicas_cpu_ms(measured: Measured) -> float | None:
    if not measured.right or "judge replica" not in measured.cpu_ms:
        return None
    return measured.cpu_ms["judge replica"] + measured.cpu_ms.get("member replicas", 0.0)


def _some(read: Read) -> Read:
    return lambda measured: read(measured) if measured.right else None


_ONE, _MANY, _ZERO = "fixed, 1 client", "fixed, 32 clients", "zero latency, 32 clients"
_STREAM_ONE, _STREAM_MANY = "stream, 1 client", "stream, 32 clients"
_MIX, _IN_FLIGHT = "mix with stragglers, 16 clients", "1000 in flight"

ADDED = Figure(_ONE, "added latency, p50", "ms", lambda m: m.added_p50_ms)
PER_S = Figure(_MANY, "fused requests", "/s", _some(lambda m: m.per_s))
ZERO_PER_S = Figure(_ZERO, "fused requests", "/s", _some(lambda m: m.per_s))
FIRST_TOKEN = Figure(_STREAM_ONE, "first token, added, p50", "ms", lambda m: m.first_token_p50_ms)
REPLICAS_CPU = Figure(_MANY, "CPU, judge and four member calls", "ms", _replicas_cpu_ms)
CPU = Figure(_MANY, "CPU, all processes", "ms", _all_cpu_ms)
IN_FLIGHT_MIB = Figure(_IN_FLIGHT, "resident memory a request", "MiB", _some(lambda m: m.resident_mib_in_flight))

FIGURES = (
    ADDED,
    Figure(_ONE, "added latency, p99", "ms", lambda m: m.added_p99_ms),
    PER_S,
    Figure(_MANY, "added latency, p50", "ms", lambda m: m.added_p50_ms),
    Figure(_MANY, "added latency, p99", "ms", lambda m: m.added_p99_ms),
    CPU,
    REPLICAS_CPU,
    ZERO_PER_S,
    Figure(_ZERO, "latency, p50", "ms", lambda m: m.latency_p50_ms),
    Figure(_ZERO, "CPU, all processes", "ms", _all_cpu_ms),
    Figure(_ZERO, "CPU, judge and four member calls", "ms", _replicas_cpu_ms),
    FIRST_TOKEN,
    Figure(_STREAM_ONE, "first token, added, p99", "ms", lambda m: m.first_token_p99_ms),
    Figure(_STREAM_MANY, "first token, added, p50", "ms", lambda m: m.first_token_p50_ms),
    Figure(_STREAM_MANY, "chunks", "/s", _some(lambda m: m.chunks_per_s)),
    Figure(_MIX, "latency, p50", "ms", lambda m: m.latency_p50_ms),
    Figure(_MIX, "latency, p99", "ms", lambda m: m.latency_p99_ms),
    Figure(_MIX, "fused requests", "/s", _some(lambda m: m.per_s)),
    Figure(_IN_FLIGHT, "answered of 1000", "", lambda m: float(m.right)),
    Figure(_IN_FLIGHT, "added latency, p50", "ms", lambda m: m.added_p50_ms),
    Figure(_IN_FLIGHT, "added latency, p99", "ms", lambda m: m.added_p99_ms),
    IN_FLIGHT_MIB,
)

_COUNCIL, _OPTILLM = "council over LiteLLM proxy", "optillm moa"
TARGETS = (
    Target("added latency at one client, of the LiteLLM council's", ADDED, _COUNCIL, at_most=0.2),
    Target("added latency at one client, above the floor's, ms", ADDED, FLOOR.name, at_most=10.0, above=True),
    Target("fused requests a second, of the LiteLLM council's", PER_S, _COUNCIL, at_least=6.0),
    Target("fused requests a second, of optillm's", PER_S, _OPTILLM, at_least=3.0),
    Target("fused requests a second, of the floor's", PER_S, FLOOR.name, at_least=0.6),
    Target("CPU-ms a fused request, judge and four member calls", REPLICAS_CPU, None, at_most=8.0),
    Target("first token of a streamed merge, over the judge model's own, ms", FIRST_TOKEN, None, at_most=15.0),
)


def values(runs: Sequence[Run], figure: Figure, contender: str) -> dict[int, float]:
    """A contender's figure by round; rounds in which there was none are left out."""
    found = {
        run.round: figure.read(run.measured) for run in runs if run.contender == contender and run.work == figure.work
    }
    return {number: value for number, value in found.items() if value is not None}


def spread(found: Sequence[float]) -> Spread | None:
    """The median of the values and their range, None when there are none."""
    return Spread(statistics.median(found), min(found), max(found)) if found else None


def compared(runs: Sequence[Run], figure: Figure, contender: str, *, difference: bool = False) -> Spread | None:
    """Fusion Cluster's figure over, or less, the contender's, round by round."""
    ours, others = values(runs, figure, FUSION.name), values(runs, figure, contender)
    pairs = [(ours[number], other) for number, other in others.items() if number in ours]
    if difference:
        return spread([our - other for our, other in pairs])
    return spread([our / other for our, other in pairs if other > 0])


def measured_against(runs: Sequence[Run], target: Target) -> Spread | None:
    """The number that a target speaks of."""
    if target.beside is None:
        return spread(list(values(runs, target.figure, FUSION.name).values()))
    return compared(runs, target.figure, target.beside, difference=target.above)


def holds(target: Target, found: Spread) -> bool:
    """Whether the median reaches the target."""
    if target.at_most is not None:
        return found.median <= target.at_most
    return target.at_least is None or found.median >= target.at_least
