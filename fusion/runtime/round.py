"""One round of a panel, as a state machine without I/O and without a clock of its own.

Events are what happened, in the past tense, each with the time it happened at; commands are what to do next. Times
are seconds on any one monotonic clock.

    start() ──► Ask(member)…, WakeAt(time)
    Answered / Failed / Ticked / Abandoned ──► Ask(member)…, Cancel(member)…, WakeAt(time), Close
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fusion.chat import Completion
from fusion.results import Candidate, Failure
from fusion.steps import Settled


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
    failure: Failure
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
    """The round is over: every member that was asked has its outcome."""


Command = Ask | Cancel | WakeAt | Close


Pays = Callable[[str, float, float], float | None]
"""How much longer, in seconds, it pays to wait for a member that has run for so many seconds when its answer is worth
so many seconds of waiting. None when too little is known of it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Some members that are asked first. The others are asked when these differ or one of them fails; when one has
    answered and the grace for the rest is over; and at `until_at` in any case."""

    members: tuple[str, ...]
    settled: Settled
    until_at: float


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """When a round ends.

    It closes when every member has ended; when the quorum is in and `settled` says that it is enough; when the quorum
    is in and the stragglers' grace is over; when too few members are left to reach the quorum; and at `deadline_at` in
    any case. The grace is at most `straggler_grace` times what the quorum took, and never goes past `patience_at`, so
    that time is left for the judge. With `pays` it ends as soon as it pays to wait for none of the stragglers any more;
    then an answer is worth the whole grace.

    With an `opening` it closes too when that is settled. If it is not, then the opening's answers count, but the quorum
    is not in before one of the other members has answered, and the time it took counts from their being asked.
    """

    quorum: int
    straggler_grace: float
    patience_at: float
    deadline_at: float
    settled: Settled | None = None
    pays: Pays | None = None
    opening: Opening | None = None


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
    """Those who answered said enough."""
    grace_saved_s: float = field(default=0.0, init=False)
    """How much of the grace was not waited for, because it did not pay."""
    _asked_at: dict[str, float] = field(default_factory=dict[str, float], init=False)
    _outcomes: dict[str, Candidate] = field(default_factory=dict[str, Candidate], init=False)
    _answers: int = field(default=0, init=False)
    _quorum: int = field(default=0, init=False)
    _began_at: float = field(default=0.0, init=False)
    _opening_until: float | None = field(default=None, init=False)
    _close_at: float = field(default=0.0, init=False)
    _wakes_at: float = field(default=0.0, init=False)
    _grace_ends_at: float = field(default=0.0, init=False)
    _pays_until: dict[str, float] = field(default_factory=dict[str, float], init=False)

    def start(self) -> list[Command]:
        """The opening commands. Nobody is asked when the deadline has passed already."""
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
        self._opening_until = opening.until_at
        first = tuple(member for member in self.members if member in opening.members)
        return [*self._ask(first, self.started_at), self._wake()]

    @property
    def has_quorum(self) -> bool:
        return self.settled or self._answers >= self.policy.quorum

    @property
    def in_grace(self) -> bool:
        """The quorum is in, and only stragglers are waited for."""
        return bool(self._pays_until) and not self.closed

    @property
    def outcomes(self) -> tuple[Candidate, ...]:
        """Every outcome so far, in order of trust."""
        return tuple(self._outcomes[member] for member in self.members if member in self._outcomes)

    @property
    def unasked(self) -> tuple[str, ...]:
        """Members that were not asked, in order of trust."""
        return tuple(member for member in self.members if member not in self._asked_at)

    def handle(self, event: Event) -> list[Command]:
        """What follows from an event. Nothing does once the round is closed, or for a member that has ended."""
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
        if self._opening_until is not None:
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
        return self._grace_goes_on(event.at) if self._pays_until else []

    def _end_in_opening(self, event: Answered | Failed) -> list[Command]:
        opening, running = self.policy.opening, self._running
        assert opening is not None
        assert self._opening_until is not None
        if isinstance(event, Answered) and opening.settled(self._answered, len(running)):
            self.settled = True
            return self._close(event.at)
        if isinstance(event, Failed) or not running:
            return self._widen(event.at)
        grace_ends_at = event.at + self.policy.straggler_grace * (event.at - self._began_at)
        self._opening_until = min(self._opening_until, grace_ends_at)
        return self._widen(event.at) if self._opening_is_over(event.at) else [self._wake()]

    def _opening_is_over(self, at: float) -> bool:
        return self._opening_until is not None and at >= self._opening_until

    def _widen(self, at: float) -> list[Command]:
        """Ask the rest of the panel. Of the opening nothing is cancelled."""
        self._opening_until = None
        self._began_at = at
        self._quorum = max(self.policy.quorum, self._answers + 1)
        return [*self._ask(self.unasked, at), self._wake()]

    def _begin_grace(self, at: float) -> None:
        """The quorum is in: how long each of the others is waited for."""
        grace_s = self.policy.straggler_grace * (at - self._began_at)
        self._grace_ends_at = min(self._close_at, at + grace_s, self.policy.patience_at)
        self._pays_until = dict.fromkeys(self._running, self._grace_ends_at)
        if self.policy.pays is not None:
            for member in self._pays_until:
                more_s = self.policy.pays(member, at - self._asked_at[member], grace_s)
                if more_s is not None:
                    self._pays_until[member] = min(self._grace_ends_at, at + more_s)

    def _grace_goes_on(self, at: float) -> list[Command]:
        before, self._close_at = self._wakes_at, max(self._pays_until[member] for member in self._running)
        if at >= self._close_at:
            return self._close(at)
        return [self._wake()] if self._close_at != before else []

    def _ask(self, members: Sequence[str], at: float) -> list[Command]:
        self._asked_at |= dict.fromkeys(members, at)
        return [Ask(member) for member in members]

    def _wake(self) -> WakeAt:
        self._wakes_at = min(self._close_at, self._opening_until or self._close_at)
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
        if losers and self._pays_until:
            self.grace_saved_s = max(0.0, self._grace_ends_at - max(at, self._close_at))
        for member in losers:
            took_ms = (at - self._asked_at[member]) * 1e3
            self._outcomes[member] = Candidate(member, "cancelled", took_ms, self.number)
        return [*(Cancel(member) for member in losers), Close()]
