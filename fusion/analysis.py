"""Where the candidates of a request agree and differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AnalysisMode = Literal["off", "beside", "before"]
"""`beside`: asked for at the same time as the decision, which does not wait for it. `before`: asked for first, and
shown to the judge model that writes the answer."""


@dataclass(frozen=True, slots=True)
class Point:
    """Something said, and by whom."""

    text: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What candidates differ about, and what each side says."""

    topic: str
    stances: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What all say, where they contradict each other, what only some cover, what only one found, and what none did.

    `judge` is the judge model that wrote it, None when none was asked. `error` is why there is nothing in it, None when
    that is what was found.
    """

    judge: str | None
    consensus: tuple[Point, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    partial_coverage: tuple[Point, ...] = ()
    unique_insights: tuple[Point, ...] = ()
    blind_spots: tuple[str, ...] = ()
    error: str | None = None
