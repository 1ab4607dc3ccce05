"""What can be seen of a fused request while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fusion.values import Candidate, Delta


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
    """A judge model was asked for its decision."""

    judge: str


Progress = PanelConvened | CandidateGrew | CandidateEnded | JudgeAsked


class Watcher(Protocol):
    """Someone who looks on. Both methods return at once and never raise.

    The deltas add up to the fused answer's completion.
    """

    watches_candidates: bool

    def delta(self, delta: Delta) -> None: ...

    def progress(self, event: Progress) -> None: ...
