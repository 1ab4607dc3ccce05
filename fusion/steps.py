"""What a mode can have done for its request, and the decision that it ends with.

A mode is `async def mode(run: Run, task: Task) -> Decision`. All that it needs from outside goes through the two
methods of `Run`: `fusion.runtime.runner` carries them out, and `fusion.testing.ScriptedRun` answers them from a script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fusion.ballot import Ballot
from fusion.chat import Completion, Request
from fusion.presets import DecisionMode
from fusion.results import Agreement, Analysis, Assembly, Candidate, Failure, NoHarm, Stage, Verdict
from fusion.verbatim.references import Offer

Outcome = Completion | Failure
"""What a call ended with."""


JudgeFailures = Sequence[tuple[str, str]]
"""The judge models that gave nothing usable, in the order in which they were asked, each with its error's code."""


Settled = Callable[[Sequence[Candidate], int], bool]
"""Decides whether a round needs no more answers: whether the candidates that answered, in order of trust, are enough
whatever the calls that still run, whose number is the second argument, may answer."""


PrefillRequest = Callable[[Sequence[Candidate], Sequence[str]], tuple[Request, str] | None]
"""Builds what a judge model will be asked about the candidates, in the order of these members, and the line that closes
the last of them; None when it will not be asked about any."""


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """What a judge model can be shown while a round's stragglers are waited for."""

    judge: str
    request_of: PrefillRequest


@dataclass(frozen=True, slots=True)
class Opening:
    """The members of a round that are asked first, and what makes their answers enough."""

    members: tuple[str, ...]
    settled: Settled


@dataclass(frozen=True, slots=True)
class Convene:
    """One round: members that are asked at once."""

    requests: Mapping[str, Request]
    """What each member is asked, in order of trust."""
    round: int = 0
    """0 for the panel's round, and from 1 on a debate's rebuttals."""
    optional: bool = False
    """Whether the round leaves time for what comes after it even when its quorum is not in."""
    settled: Settled | None = None
    """Ends the round early."""
    opening: Opening | None = None
    """Members that are asked first; the others are asked only if these do not settle the round."""
    prefill: PrefillPlan | None = None
    """What the judge model can read while stragglers are waited for."""
    ballots: Mapping[str, Ballot] = field(default_factory=dict[str, Ballot])
    """The candidates that a member's request shows; they are shortened where the request does not fit its context."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The outcome of every member of a round."""

    candidates: tuple[Candidate, ...]
    has_quorum: bool
    timed_out: bool
    prefilled: tuple[str, ...] = ()
    """The members whose candidates the judge model has read already, in that order."""


@dataclass(frozen=True, slots=True)
class AskJudge:
    """One call to a judge model."""

    judge: str
    """The member that is asked."""
    request: Request
    """What it is asked."""
    share: float = 1.0
    """The part of the time that is left which the call may take."""
    streams: bool = False
    """Whether what it writes is the answer, and goes to the client as it comes."""
    stage: Stage = "judge"
    """Where the call's cost is counted."""
    beside: bool = False
    """Whether the call is not waited for once those that are not `beside` have ended."""
    ballot: Ballot | None = None
    """The candidates that the request shows; they are shortened where the request does not fit its context."""
    offer: Offer | None = None
    """The blocks that replace references in what streams. The outcome is as the judge model wrote it."""


class Run(Protocol):
    """What a mode can have done for its request."""

    async def convene(self, convene: Convene) -> RoundResult:
        """Ask the members of a round, and return every outcome."""
        ...

    async def ask_judges(self, asks: Sequence[AskJudge], *, jurors: int = 0, grace: float = 0.0) -> tuple[Outcome, ...]:
        """Ask judge models at once, and return their outcomes in the order of the asks; at most one of them `streams`.

        Calls that are `beside` others are cancelled once all others have ended. The first `jurors` asks are a jury:
        once most of it has answered, the rest has the fraction `grace` of the time that this took. A call that is
        cancelled or runs out of time counts as timed out.

        Raises:
            JudgeInterrupted: the ask that `streams` failed when part of its answer had been sent.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a mode ends."""

    completion: Completion
    """The answer."""
    judge: str | None = None
    """The member that decided, None when no judge model did."""
    verdict: Verdict | None = None
    """The scores that decided, None when nothing was scored."""
    degraded: str | None = None
    """Why the answer is less than was asked for, None when it is not."""
    agreement: Agreement | None = None
    """How far the candidates agree, None when they were not compared."""
    assembly: Assembly | None = None
    """How the answer was put together, None when it was not."""
    analysis: Analysis | None = None
    """How the candidates compare, None when no analysis was asked for."""
    no_harm: NoHarm | None = None
    """The merge's comparison with the best candidate, None when none was made."""

    def also_degraded(self, reason: str) -> Decision:
        """The decision with one more reason why it is less than was asked for."""
        return replace(self, degraded=f"{self.degraded}; {reason}" if self.degraded else reason)


JUDGE_STAGES: Mapping[DecisionMode, Stage] = {"best-of": "judge", "merge": "write"}
"""The stage of the judge model's calls, by how it decides."""


def panel_stage(round_number: int) -> Stage:
    """The stage of the members' calls in a round."""
    return "rebuttal" if round_number else "panel"


def format_failures(failures: JudgeFailures) -> str:
    """The failures as `degraded` lists them: `judge (timeout), deputy (invalid_verdict)`."""
    return ", ".join(f"{judge} ({code})" for judge, code in failures)
