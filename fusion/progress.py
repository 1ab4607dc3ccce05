"""What can be seen of a fused request while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fusion.chat import Completion, Delta
from fusion.results import Candidate, Failure


@dataclass(frozen=True, slots=True)
class PanelConvened:
    """A round began and these members were asked."""

    members: tuple[str, ...]
    round: int


@dataclass(frozen=True, slots=True)
class CandidateGrew:
    """A member wrote a piece of its answer. Reported only to who watches candidates."""

    member: str
    round: int
    delta: Delta


@dataclass(frozen=True, slots=True)
class CandidateEnded:
    """A member's outcome in a round is known."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class JudgeAsked:
    """A judge model was asked. `number` counts the request's judge calls, several of which may run at once; `stage` is
    what the call is for."""

    judge: str
    number: int = 0
    stage: str = "judge"


Progress = PanelConvened | CandidateGrew | CandidateEnded | JudgeAsked


@dataclass(frozen=True, slots=True)
class JudgeEnded:
    """The judge model's call of this `number` is over, after this long and at this cost, which is None when unknown.
    Whether a verdict can be read in its completion is not known yet."""

    judge: str
    outcome: Completion | Failure
    latency_ms: float
    cost_usd: float | None
    number: int = 0


class Observer(Protocol):
    """Someone who keeps account of a fused request. Unlike a watcher's, an observer's presence changes nothing.

    It is told of each event in the context in which the tasks that follow from the event are made, so that a context
    variable that it sets holds in them. Returns at once and never raises.
    """

    def told(self, event: Progress | JudgeEnded) -> None: ...


class Watcher(Protocol):
    """Someone who looks on. Both methods return at once and never raise.

    The deltas add up to the fused answer's completion.
    """

    watches_candidates: bool

    def delta(self, delta: Delta) -> None: ...

    def progress(self, event: Progress) -> None: ...


def tell(event: Progress, watcher: Watcher | None, observers: Iterable[Observer]) -> None:
    """Tell everyone who looks on."""
    if watcher:
        watcher.progress(event)
    for observer in observers:
        observer.told(event)
