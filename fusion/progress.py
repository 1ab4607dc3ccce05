"""The events of a fused request, and the protocols of those who receive them while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fusion.chat import Completion, Delta
from fusion.results import Candidate, Failure, Stage


@dataclass(frozen=True, slots=True)
class PanelConvened:
    """A round began and these members were asked."""

    members: tuple[str, ...]
    round: int


@dataclass(frozen=True, slots=True)
class CandidateGrew:
    """A member wrote a piece of its answer. Only a watcher that `watches_candidates` receives it."""

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
    the purpose of the call."""

    judge: str
    number: int = 0
    stage: Stage = "judge"


Progress = PanelConvened | CandidateGrew | CandidateEnded | JudgeAsked


@dataclass(frozen=True, slots=True)
class JudgeEnded:
    """The judge model's call of this `number` ended. `cost_usd` is None when it is not known; whether its completion
    holds a verdict is not known yet."""

    judge: str
    outcome: Completion | Failure
    latency_ms: float
    cost_usd: float | None
    number: int = 0


class Observer(Protocol):
    """Receives every event of a fused request, for metrics and traces. It changes nothing of the request.

    Each event is delivered in the context in which the tasks that follow from it are made, so a context variable that
    the observer sets holds in them.
    """

    def on_event(self, event: Progress | JudgeEnded) -> None:
        """Take an event. Returns at once and never raises."""
        ...


class Watcher(Protocol):
    """Receives progress events and the answer's deltas, which add up to the fused answer's completion."""

    watches_candidates: bool
    """Whether it receives `CandidateGrew` events."""

    def on_delta(self, delta: Delta) -> None:
        """Take a piece of the answer. Returns at once and never raises."""
        ...

    def on_progress(self, event: Progress) -> None:
        """Take an event. Returns at once and never raises."""
        ...


def notify(event: Progress, watcher: Watcher | None, observers: Iterable[Observer]) -> None:
    """Deliver an event to the watcher and to every observer."""
    if watcher:
        watcher.on_progress(event)
    for observer in observers:
        observer.on_event(event)
