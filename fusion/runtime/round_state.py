"""One round of a panel, as a state machine without I/O and without a clock.

Events are what happened, in the past tense, each with its time; commands are what to do next. Times are seconds on one
monotonic clock.

    start() ──► Ask(member)…, WakeAt(time)
    Answered / Failed / Ticked / Abandoned ──► Ask(member)…, Cancel(member)…, WakeAt(time), Close
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from fusion.chat import Completion
from fusion.results import Candidate, Failure
from fusion.steps import Opening, Settled


@dataclass(frozen=True, slots=True)
class Answered:
    """A member's call ended with a completion."""

    member: str
    completion: Completion
    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A member's call ended without a completion."""

    member: str
    failure: Failure
    at: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """The time that was set with `WakeAt` came, or calls ended and this is the time after them."""

    at: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The round's result is not needed any more."""

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
    """End the round: every member that was asked has its outcome."""


Command = Ask | Cancel | WakeAt | Close


WorthwhileWait = Callable[[str, float, float], float | None]
"""The optimal additional wait for a member in seconds, given that its call has run for the seconds of the second
argument and that its answer is worth the seconds of the third. None when too little is known of the member."""


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """When a round ends.

    It closes when every member's call has ended; when the quorum is in and `settled` holds; when the quorum is in and
    the stragglers' grace is over; when too few members are left to reach the quorum; and at `deadline_at` in any case.

    With an `opening` it closes also when that is settled. The other members are asked when the opening's members differ
    or one of them fails; when one has answered and the grace for the rest is over; and at `widen_at` in any case. Then
    the opening's answers count, but the quorum is not in before one of the other members has answered, and the time it
    took counts from when those were asked.
    """

    quorum: int
    """How many answers are enough to go on."""
    straggler_grace: float
    """How long stragglers are waited for, at most, as a multiple of the time that the quorum took."""
    patience_at: float
    """When the grace ends at the latest, so that time is left for the judge."""
    deadline_at: float
    """When the round ends in any case."""
    settled: Settled | None = None
    """Ends the round early, once the quorum is in."""
    worthwhile_wait: WorthwhileWait | None = None
    """Ends the grace as soon as no straggler is worth waiting for; an answer is worth the whole grace."""
    opening: Opening | None = None
    """Members that are asked before the others."""
    widen_at: float = inf
    """When the others are asked at the latest."""


@dataclass(slots=True)
class Round:
    """The round's state. `members` is the panel in order of trust, without repetition."""

    members: tuple[str, ...]
    policy: RoundPolicy
    started_at: float
    number: int = 0
    closed: bool = field(default=False, init=False)
    timed_out: bool = field(default=False, init=False)
    settled: bool = field(default=False, init=False)
    """Whether the answers that are in were enough to end the round early."""
    grace_saved_s: float = field(default=0.0, init=False)
    """The part of the grace that was not waited for because no straggler was worth it, in seconds."""
    _asked_at: dict[str, float] = field(default_factory=dict[str, float], init=False)
    _outcomes: dict[str, Candidate] = field(default_factory=dict[str, Candidate], init=False)
    _answers: int = field(default=0, init=False)
    _quorum: int = field(default=0, init=False)
    _began_at: float = field(default=0.0, init=False)
    _widen_at: float | None = field(default=None, init=False)
    _close_at: float = field(default=0.0, init=False)
    _wakes_at: float = field(default=0.0, init=False)
    _grace_ends_at: float = field(default=0.0, init=False)
    _worthwhile_until: dict[str, float] = field(default_factory=dict[str, float], init=False)

    def start(self) -> list[Command]:
        """Return the first commands. No member is asked when the deadline has passed already."""
        policy, opening = self.policy, self.policy.opening
        self._close_at = policy.deadline_at
        self._began_at = self.started_at
        self._quorum = policy.quorum
        if self.started_at >= self._close_at:
            self._asked_at = dict.fromkeys(self.members, self.started_at)
            self._close(self.started_at)
            return [Close()]
        if opening is None or set(opening.members) >= set(self.members):
            return [*self._ask(self.members, self.started_at), self._wake()]
        self._widen_at = policy.widen_at
        first = tuple(member for member in self.members if member in opening.members)
        return [*self._ask(first, self.started_at), self._wake()]

    @property
    def has_quorum(self) -> bool:
        return self.settled or self._answers >= self.policy.quorum

    @property
    def in_grace(self) -> bool:
        """Whether the quorum is in and the round waits for stragglers."""
        return bool(self._worthwhile_until) and not self.closed

    @property
    def outcomes(self) -> tuple[Candidate, ...]:
        """Every outcome so far, in order of trust."""
        return tuple(self._outcomes[member] for member in self.members if member in self._outcomes)

    @property
    def unasked(self) -> tuple[str, ...]:
        """Members that were not asked, in order of trust."""
        return tuple(member for member in self.members if member not in self._asked_at)

    def handle(self, event: Event) -> list[Command]:
        """Return the commands that follow from an event: none once the round is closed, or for a member whose outcome
        is known."""
        if self.closed:
            return []
        if isinstance(event, Abandoned):
            return self._close(event.at)
        if event.at >= self._close_at:
            return self._close(event.at)
        if not isinstance(event, Ticked) and event.member in self._asked_at and event.member not in self._outcomes:
            return self._end(event)
        if isinstance(event, Ticked):
            return self._widen(event.at) if self._opening_is_over(event.at) else [self._wake()]
        return []

    def _end(self, event: Answered | Failed) -> list[Command]:
        took_ms = (event.at - self._asked_at[event.member]) * 1e3
        if isinstance(event, Failed):
            ended = Candidate(event.member, "failed", took_ms, self.number, failure=event.failure)
        else:
            ended = Candidate(event.member, "answered", took_ms, self.number, completion=event.completion)
            self._answers += 1
        self._outcomes[event.member] = ended
        if self._widen_at is not None:
            return self._end_in_opening(event)
        running = self._running
        if not running or self._answers + len(running) < self.policy.quorum:
            return self._close(event.at)
        if isinstance(event, Answered) and self._answers >= self._quorum:
            if self.policy.settled is not None and self.policy.settled(self._answered, len(running)):
                self.settled = True
                return self._close(event.at)
            if self._answers == self._quorum:
                self._begin_grace(event.at)
                self._wakes_at = 0.0
        return self._grace_goes_on(event.at) if self._worthwhile_until else []

    def _end_in_opening(self, event: Answered | Failed) -> list[Command]:
        opening, running = self.policy.opening, self._running
        assert opening is not None
        assert self._widen_at is not None
        if isinstance(event, Answered) and opening.settled(self._answered, len(running)):
            self.settled = True
            return self._close(event.at)
        if isinstance(event, Failed) or not running:
            return self._widen(event.at)
        grace_ends_at = event.at + self.policy.straggler_grace * (event.at - self._began_at)
        self._widen_at = min(self._widen_at, grace_ends_at)
        return self._widen(event.at) if self._opening_is_over(event.at) else [self._wake()]

    def _opening_is_over(self, at: float) -> bool:
        return self._widen_at is not None and at >= self._widen_at

    def _widen(self, at: float) -> list[Command]:
        """Ask the rest of the panel. The opening's calls go on."""
        self._widen_at = None
        self._began_at = at
        self._quorum = max(self.policy.quorum, self._answers + 1)
        return [*self._ask(self.unasked, at), self._wake()]

    def _begin_grace(self, at: float) -> None:
        """Set how long each straggler is waited for, now that the quorum is in."""
        grace_s = self.policy.straggler_grace * (at - self._began_at)
        self._grace_ends_at = min(self._close_at, at + grace_s, self.policy.patience_at)
        self._worthwhile_until = dict.fromkeys(self._running, self._grace_ends_at)
        if self.policy.worthwhile_wait is not None:
            for member in self._worthwhile_until:
                more_s = self.policy.worthwhile_wait(member, at - self._asked_at[member], grace_s)
                if more_s is not None:
                    self._worthwhile_until[member] = min(self._grace_ends_at, at + more_s)

    def _grace_goes_on(self, at: float) -> list[Command]:
        before, self._close_at = self._wakes_at, max(self._worthwhile_until[member] for member in self._running)
        if at >= self._close_at:
            return self._close(at)
        return [self._wake()] if self._close_at != before else []

    def _ask(self, members: Sequence[str], at: float) -> list[Command]:
        self._asked_at |= dict.fromkeys(members, at)
        return [Ask(member) for member in members]

    def _wake(self) -> WakeAt:
        self._wakes_at = min(self._close_at, self._widen_at or self._close_at)
        return WakeAt(self._wakes_at)

    @property
    def _running(self) -> list[str]:
        return [member for member in self._asked_at if member not in self._outcomes]

    @property
    def _answered(self) -> list[Candidate]:
        return [candidate for candidate in self.outcomes if candidate.status == "answered"]

    def _close(self, at: float) -> list[Command]:
        self.closed = True
        self.timed_out = at >= self.policy.deadline_at
        losers = [member for member in self.members if member in self._running]
        if losers and self._worthwhile_until:
            self.grace_saved_s = max(0.0, self._grace_ends_at - max(at, self._close_at))
        for member in losers:
            took_ms = (at - self._asked_at[member]) * 1e3
            self._outcomes[member] = Candidate(member, "cancelled", took_ms, self.number)
        return [*(Cancel(member) for member in losers), Close()]
