"""One round of a panel, as a state machine without I/O and without a clock of its own.

Events are what happened, in the past tense, each with the time it happened at; commands are what to do next. Times
are seconds on any one monotonic clock.

    start() ──► Ask(member)…, WakeAt(deadline)
    Answered / Failed / Ticked / Abandoned ──► Cancel(member)…, WakeAt(time), Close
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fusion.errors import MemberError
from fusion.values import Candidate, Completion


@dataclass(frozen=True, slots=True)
class Answered:
    """A member's call ended with a completion."""

    member: str
    completion: Completion
    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A member's call ended without one."""

    member: str
    error: MemberError
    at: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time went by."""

    at: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Nobody waits for this round any more."""

    at: float


Event = Answered | Failed | Ticked | Abandoned


@dataclass(frozen=True, slots=True)
class Ask:
    """Start the member's call."""

    member: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the member's call; its outcome no longer matters."""

    member: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Report `Ticked` at this time if nothing else happens; replaces the last such command."""

    at: float


@dataclass(frozen=True, slots=True)
class Close:
    """The round is over: every member has its outcome."""


Command = Ask | Cancel | WakeAt | Close


Settled = Callable[[Sequence[Candidate], int], bool]
"""Whether the candidates that answered, in order of trust, say enough, whatever so many that still run may answer."""


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """When a round ends.

    It closes when every member has ended; when the quorum is in and `settled` says that it is enough; when the quorum
    is in and the stragglers' grace is over; when too few members are left to reach the quorum; and at `deadline_at` in
    any case. The grace is `straggler_grace` times what the quorum took, and never goes past `patience_at`, so that time
    is left for the judge.
    """

    quorum: int
    straggler_grace: float
    patience_at: float
    deadline_at: float
    settled: Settled | None = None


@dataclass(slots=True)
class Round:
    """The round's state. `members` is the panel in order of trust, without repetition."""

    members: tuple[str, ...]
    policy: RoundPolicy
    started_at: float
    number: int = 0
    closed: bool = field(default=False, init=False)
    timed_out: bool = field(default=False, init=False)
    _outcomes: dict[str, Candidate] = field(default_factory=dict[str, Candidate], init=False)
    _answers: int = field(default=0, init=False)
    _close_at: float = field(default=0.0, init=False)

    def start(self) -> list[Command]:
        """The opening commands. Nobody is asked when the deadline has passed already."""
        self._close_at = self.policy.deadline_at
        if self.started_at >= self._close_at:
            self._close(self.started_at)
            return [Close()]
        return [*(Ask(member) for member in self.members), WakeAt(self._close_at)]

    @property
    def has_quorum(self) -> bool:
        return self._answers >= self.policy.quorum

    @property
    def outcomes(self) -> tuple[Candidate, ...]:
        """Every outcome so far, in order of trust."""
        return tuple(self._outcomes[member] for member in self.members if member in self._outcomes)

    def handle(self, event: Event) -> list[Command]:
        """What follows from an event. Nothing does once the round is closed, or for a member that has ended."""
        if self.closed:
            return []
        if isinstance(event, Abandoned):
            return self._close(event.at)
        if event.at >= self._close_at:
            return self._close(event.at)
        if isinstance(event, Ticked):
            return [WakeAt(self._close_at)]
        if event.member in self._outcomes or event.member not in self.members:
            return []
        return self._end(event)

    def _end(self, event: Answered | Failed) -> list[Command]:
        took_s = event.at - self.started_at
        took_ms = took_s * 1e3
        if isinstance(event, Failed):
            ended = Candidate(event.member, "failed", took_ms, self.number, error=event.error)
        else:
            ended = Candidate(event.member, "answered", took_ms, self.number, completion=event.completion)
            self._answers += 1
        self._outcomes[event.member] = ended
        running = len(self.members) - len(self._outcomes)
        if running == 0 or self._answers + running < self.policy.quorum:
            return self._close(event.at)
        if isinstance(event, Answered) and self._answers >= self.policy.quorum and self._settled(running):
            return self._close(event.at)
        if isinstance(event, Answered) and self._answers == self.policy.quorum:
            grace_ends_at = min(event.at + self.policy.straggler_grace * took_s, self.policy.patience_at)
            self._close_at = min(self._close_at, grace_ends_at)
            if event.at >= self._close_at:
                return self._close(event.at)
            return [WakeAt(self._close_at)]
        return []

    def _settled(self, running: int) -> bool:
        answered = [candidate for candidate in self.outcomes if candidate.status == "answered"]
        return self.policy.settled is not None and self.policy.settled(answered, running)

    def _close(self, at: float) -> list[Command]:
        self.closed = True
        self.timed_out = at >= self.policy.deadline_at
        losers = [member for member in self.members if member not in self._outcomes]
        took_ms = (at - self.started_at) * 1e3
        for member in losers:
            self._outcomes[member] = Candidate(member, "cancelled", took_ms, self.number)
        return [*(Cancel(member) for member in losers), Close()]
