"""The round under any order of events: an oracle says when it must close, and every event is followed by all checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.chat import Completion
from fusion.errors import MemberUnavailable
from fusion.runtime.round_state import (
    Abandoned,
    Answered,
    Ask,
    Cancel,
    Close,
    Command,
    Event,
    Failed,
    Round,
    RoundPolicy,
    Ticked,
    WakeAt,
)

STARTS_AT = 100.0
NAMES = ("ada", "bob", "cyd", "dot", "eli")
STRANGER = "zed"


def ticks(lowest: int = 0, highest: int = 80) -> st.SearchStrategy[float]:
    """Times that floats hold exactly."""
    return st.integers(lowest, highest).map(lambda quarters: quarters / 4)


POLICIES = st.builds(
    RoundPolicy,
    quorum=st.integers(1, len(NAMES) + 1),
    straggler_grace=st.sampled_from([0.0, 0.25, 0.5, 1.0, 4.0]),
    patience_at=ticks().map(STARTS_AT.__add__),
    deadline_at=ticks(1).map(STARTS_AT.__add__),
    settled=st.sampled_from([None, lambda answered, running: len(answered) > running]),
)


def happened(kind: str, member: str, at: float) -> Event:
    match kind:
        case "answered":
            return Answered(member, Completion(f"{member} at {at}"), at)
        case "failed":
            return Failed(member, MemberUnavailable("refused").as_failure(), at)
        case "ticked":
            return Ticked(at)
        case _:
            return Abandoned(at)


KINDS = st.sampled_from(["answered"] * 4 + ["failed"] * 2 + ["ticked"] * 2 + ["abandoned"])
STEPS = st.tuples(KINDS, st.sampled_from([*NAMES, STRANGER]), ticks(0, 12))


def history_of(steps: list[tuple[str, str, float]]) -> list[Event]:
    """Events in the order of time, with repetitions, strangers, and events long after the deadline."""
    times = accumulate((step_s for _, _, step_s in steps), initial=STARTS_AT)
    return [happened(kind, member, at) for (kind, member, _), at in zip(steps, islice(times, 1, None), strict=True)]


@dataclass
class Checked:
    """A round whose every step is checked, against its own commands and against an oracle."""

    round: Round
    asked: set[str] = field(default_factory=set[str])
    ended: dict[str, str] = field(default_factory=dict[str, str])
    closes: int = 0
    wake_at: float = 0.0
    close_at: float = 0.0
    answers: int = 0

    def start(self) -> None:
        self.close_at = self.round.policy.deadline_at
        self._obey(self.round.start(), STARTS_AT)
        self._check(STARTS_AT)

    def handle(self, event: Event) -> None:
        must_close = self._must_close(event)
        was_closed = self.round.closed
        before = self.round.outcomes
        running = self.asked - set(self.ended)
        commands = self.round.handle(event)
        if was_closed:
            assert commands == []
            assert self.round.outcomes == before
            return
        assert self.round.closed == must_close
        if must_close:
            losers = running - set(self.ended)
            assert commands == [*(Cancel(member) for member in self.round.members if member in losers), Close()]
            for member in losers:
                self.ended[member] = "cancelled"
            assert self.round.timed_out == (event.at >= self.round.policy.deadline_at)
        self._obey(commands, event.at)
        self._check(event.at)

    def _must_close(self, event: Event) -> bool:
        """What the documentation says of this event, written without a look at the code."""
        policy = self.round.policy
        if self.round.closed or isinstance(event, Abandoned) or event.at >= self.close_at:
            return True
        if isinstance(event, Ticked) or event.member in self.ended or event.member not in self.round.members:
            return False
        self.ended[event.member] = "answered" if isinstance(event, Answered) else "failed"
        running = len(self.round.members) - len(self.ended)
        if isinstance(event, Answered):
            self.answers += 1
            if self.answers == policy.quorum:
                grace_ends_at = event.at + policy.straggler_grace * (event.at - STARTS_AT)
                self.close_at = min(policy.deadline_at, grace_ends_at, policy.patience_at)
        quorum_in = isinstance(event, Answered) and self.answers >= policy.quorum
        if quorum_in and policy.settled is not None and self.answers > running:
            return True
        return running == 0 or self.answers + running < policy.quorum or event.at >= self.close_at

    def _obey(self, commands: list[Command], at: float) -> None:
        for command in commands:
            assert not self.closes, "something was commanded after the end"
            if isinstance(command, Ask):
                assert command.member not in self.asked
                self.asked.add(command.member)
            elif isinstance(command, WakeAt):
                assert at <= command.at <= self.round.policy.deadline_at
                self.wake_at = command.at
            elif isinstance(command, Close):
                self.closes += 1

    def _check(self, at: float) -> None:
        assert self.closes == self.round.closed
        statuses = {candidate.member: candidate.status for candidate in self.round.outcomes}
        assert statuses == self.ended
        assert [candidate.member for candidate in self.round.outcomes] == [
            member for member in self.round.members if member in self.ended
        ]
        assert len(self.round.outcomes) == len(statuses)
        for candidate in self.round.outcomes:
            assert (candidate.completion is not None) == (candidate.status == "answered")
            assert (candidate.failure is not None) == (candidate.status == "failed")
            assert 0 <= candidate.latency_ms <= (at - STARTS_AT) * 1e3
        assert self.round.has_quorum == (self.answers >= self.round.policy.quorum)
        if self.round.closed:
            assert set(self.ended) == set(self.round.members)
        else:
            assert at < self.wake_at == self.close_at


@settings(max_examples=250)
@given(st.integers(1, len(NAMES)), POLICIES, st.lists(STEPS, max_size=14).map(history_of))
def test_any_history_ends_every_member_once_and_closes_exactly_when_it_must(
    size: int, policy: RoundPolicy, history: list[Event]
) -> None:
    checked = Checked(Round(NAMES[:size], policy, STARTS_AT, number=3))
    checked.start()
    assert checked.asked == set(NAMES[:size])
    for event in history:
        checked.handle(event)
    late = Ticked(max(policy.deadline_at, history[-1].at if history else 0.0))
    checked.handle(late)
    assert checked.round.closed
    assert checked.closes == 1
    assert all(candidate.round == 3 for candidate in checked.round.outcomes)
    assert checked.round.handle(late) == []


def a_round(policy: RoundPolicy, *members: str, started_at: float = STARTS_AT) -> Round:
    panel = Round(members or NAMES[:3], policy, started_at)
    panel.start()
    return panel


def answer(member: str, after_s: float) -> Answered:
    return Answered(member, Completion("yes"), STARTS_AT + after_s)


def failure(member: str, after_s: float) -> Failed:
    return Failed(member, MemberUnavailable("refused").as_failure(), STARTS_AT + after_s)


def test_the_grace_is_a_share_of_what_the_quorum_took() -> None:
    panel = a_round(RoundPolicy(2, 0.5, STARTS_AT + 75, STARTS_AT + 100))
    assert panel.handle(answer("ada", 2)) == []
    assert panel.handle(answer("cyd", 8)) == [WakeAt(STARTS_AT + 12)]
    assert panel.handle(Ticked(STARTS_AT + 11.75)) == [WakeAt(STARTS_AT + 12)]
    assert panel.handle(Ticked(STARTS_AT + 12)) == [Cancel("bob"), Close()]
    assert [(ended.member, ended.status, ended.latency_ms) for ended in panel.outcomes] == [
        ("ada", "answered", 2000.0),
        ("bob", "cancelled", 12000.0),
        ("cyd", "answered", 8000.0),
    ]
    assert panel.has_quorum
    assert not panel.timed_out


def test_the_grace_ends_where_patience_does() -> None:
    panel = a_round(RoundPolicy(1, 10.0, STARTS_AT + 30, STARTS_AT + 40))
    assert panel.handle(answer("bob", 20)) == [WakeAt(STARTS_AT + 30)]


def test_the_deadline_holds_whatever_the_grace_and_the_patience() -> None:
    panel = a_round(RoundPolicy(1, 10.0, STARTS_AT + 90, STARTS_AT + 40))
    assert panel.handle(answer("bob", 20)) == [WakeAt(STARTS_AT + 40)]
    assert panel.handle(Ticked(STARTS_AT + 40)) == [Cancel("ada"), Cancel("cyd"), Close()]
    assert panel.timed_out
    assert panel.has_quorum


def test_a_quorum_that_comes_after_patience_closes_at_once() -> None:
    panel = a_round(RoundPolicy(1, 1.0, STARTS_AT + 30, STARTS_AT + 40))
    assert panel.handle(answer("bob", 35)) == [Cancel("ada"), Cancel("cyd"), Close()]
    assert panel.has_quorum


def test_a_straggler_within_the_grace_does_not_prolong_it() -> None:
    panel = a_round(RoundPolicy(1, 1.0, STARTS_AT + 30, STARTS_AT + 40))
    panel.handle(answer("ada", 4))
    assert panel.handle(answer("bob", 6)) == []
    assert panel.handle(Ticked(STARTS_AT + 8)) == [Cancel("cyd"), Close()]


def test_an_unreachable_quorum_closes_at_once() -> None:
    panel = a_round(RoundPolicy(2, 0.5, STARTS_AT + 75, STARTS_AT + 100))
    assert panel.handle(failure("ada", 1)) == []
    assert panel.handle(failure("bob", 2)) == [Cancel("cyd"), Close()]
    assert not panel.has_quorum
    assert not panel.timed_out


def test_the_deadline_closes_without_a_quorum() -> None:
    panel = a_round(RoundPolicy(2, 0.5, STARTS_AT + 75, STARTS_AT + 100))
    panel.handle(answer("ada", 1))
    assert panel.handle(Ticked(STARTS_AT + 100)) == [Cancel("bob"), Cancel("cyd"), Close()]
    assert panel.timed_out
    assert not panel.has_quorum


def test_an_answer_at_the_deadline_is_too_late() -> None:
    panel = a_round(RoundPolicy(1, 0.5, STARTS_AT + 75, STARTS_AT + 100), "ada")
    assert panel.handle(answer("ada", 100)) == [Cancel("ada"), Close()]
    assert panel.outcomes[0].status == "cancelled"


@pytest.mark.parametrize("late_s", [0.0, 5.0])
def test_nobody_is_asked_after_the_deadline(late_s: float) -> None:
    deadline_at = STARTS_AT - late_s
    panel = Round(NAMES[:2], RoundPolicy(1, 0.5, deadline_at, deadline_at), STARTS_AT)
    assert panel.start() == [Close()]
    assert panel.timed_out
    assert [(ended.status, ended.latency_ms) for ended in panel.outcomes] == [("cancelled", 0.0)] * 2
    assert panel.handle(answer("ada", 1)) == []
