"""How a mode says what it wants done: a plan is a generator of steps.

A plan does no I/O. It yields a step, is sent what came of it, and returns its decision. A judge model that fails is
thrown into it as the `MemberError` it failed with.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fusion.admission import admitted, check_schema
from fusion.agreement import agreement
from fusion.analysis import Analysis
from fusion.assembly import Assembly
from fusion.errors import MemberError, NoQuorum
from fusion.judging import Ballot
from fusion.preset import Task
from fusion.round import Settled
from fusion.tool_terms import broken_terms, makes_wanted_call, wants_call
from fusion.untrusted import Suspicion
from fusion.values import Agreement, Candidate, Completion, NoHarm, Request, Verdict
from fusion.verbatim import Offer

RequestOf = Callable[[Sequence[Candidate], Sequence[str]], tuple[Request, str] | None]


@dataclass(frozen=True, slots=True)
class Convene:
    """Ask these members, in order of trust, at once. A round that is `optional` leaves time for what comes after it
    even when its quorum is not in. It is over as soon as `settled` says so. The members of an `opening` are asked
    first, and the others only if those do not settle it. `ahead` is what the judge model can read meanwhile, `ballots`
    what the requests show of candidates."""

    requests: Mapping[str, Request]
    round: int = 0
    optional: bool = False
    settled: Settled | None = None
    opening: Opening | None = None
    ahead: Ahead | None = None
    ballots: Mapping[str, Ballot] = field(default_factory=dict[str, Ballot])


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a judge model can be shown while stragglers run: what it will be asked about candidates in the order of
    these members, and the line that closes the last of them; None when it will not be asked about any."""

    judge: str
    request_of: RequestOf


@dataclass(frozen=True, slots=True)
class Opening:
    """Members that are asked first, and when what they say is enough."""

    members: tuple[str, ...]
    settled: Settled


@dataclass(frozen=True, slots=True)
class AskJudge:
    """Ask a judge model, with this share of the time that is left. `streams`: its words are the answer's. `stage` is
    where its cost is counted. One `beside` others is not waited for when these have ended. What the request shows of
    the `ballot` is shortened where it does not fit. The words that stream have the blocks of the `offer` put in; the
    completion that is sent back is as the judge model wrote it."""

    judge: str
    request: Request
    share: float = 1.0
    streams: bool = False
    stage: str = "judge"
    beside: bool = False
    ballot: Ballot | None = None
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class AskJudges:
    """Ask several judge models at once, or one several times; at most one of the asks `streams`.

    What came of them is sent back in their order, failures as values. Once all that are not `beside` have ended nobody
    is waited for. The first `jurors` of them are a jury: once most of it has answered the others have the fraction
    `grace` of the time that it took. Those still running are then cancelled and count as timed out.
    """

    asks: tuple[AskJudge, ...]
    jurors: int = 0
    grace: float = 0.0


Outcome = Completion | MemberError


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What became of every member of a round. `shown` are those whose candidates the judge model has read, in that
    order."""

    candidates: tuple[Candidate, ...]
    has_quorum: bool
    timed_out: bool
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """How a plan ends."""

    completion: Completion
    judge: str | None = None
    verdict: Verdict | None = None
    degraded: str | None = None
    agreement: Agreement | None = None
    assembly: Assembly | None = None
    suspicious: Mapping[str, tuple[Suspicion, ...]] = field(default_factory=dict[str, tuple[Suspicion, ...]])
    analysis: Analysis | None = None
    no_harm: NoHarm | None = None

    def also_degraded(self, why: str) -> Decision:
        """The decision with one more reason why it is less than was asked for."""
        return replace(self, degraded=f"{self.degraded}; {why}" if self.degraded else why)


Step = Convene | AskJudge | AskJudges
Reply = RoundResult | Completion | tuple[Outcome, ...]
Plan = Generator[Step, Reply, Decision]


def convene(
    task: Task, ahead: Ahead | None, opening: Opening | None = None
) -> Generator[Step, Reply, tuple[Task, tuple[Candidate, ...]]]:
    """The opening round: the request goes to the whole panel. Returns the task as it goes on, and the candidates that
    answered.

    Raises:
        InvalidRequest: answers cannot be held to the request's schema.
        NoQuorum: with every member's outcome.
    """
    check_schema(task.request)
    requests = dict.fromkeys(task.preset.panel, task.request)
    result = yield Convene(requests, settled=settled_by_agreement(task), opening=opening, ahead=ahead)
    assert isinstance(result, RoundResult)
    answered = tuple(candidate for candidate in result.candidates if candidate.status == "answered")
    if not result.has_quorum:
        outcomes = (*result.candidates, *task.left_out)
        missing = ", ".join(_outcome(candidate) for candidate in outcomes if candidate.status != "answered")
        when = "before the deadline" if result.timed_out else "and too few are left"
        raise NoQuorum(
            f"{len(answered)} of the {task.preset.quorum} candidates that a quorum needs answered {when}: {missing}",
            candidates=outcomes,
            timed_out=result.timed_out,
        )
    return replace(task, shown=result.shown), answered


def settled_by_agreement(task: Task, quorum: int | None = None) -> Settled:
    """When a round needs no more answers: those that came agree, whatever the others may say. `quorum` stands in for
    the panel's."""
    preset = task.preset
    enough = quorum or preset.quorum

    def settled(candidates: Sequence[Candidate], running: int) -> bool:
        valid, _ = admitted(task.request, candidates)
        if wants_call(task.request) and not all(_calls(candidate, task.request) for candidate in valid):
            return False
        found = agreement(valid, preset.agreement, enough, running)
        return found is not None and found.agreed

    return settled


def ask_judge(step: AskJudge) -> Generator[Step, Reply, Completion]:
    """Ask one judge model. Raises what it failed with."""
    completion = yield step
    assert isinstance(completion, Completion)
    return completion


def ask_judges(
    asks: Sequence[AskJudge], *, jurors: int = 0, grace: float = 0.0
) -> Generator[Step, Reply, tuple[Outcome, ...]]:
    """Ask several judge models at once. Only a stream that breaks off is raised (`JudgeInterrupted`)."""
    outcomes = yield AskJudges(tuple(asks), jurors, grace)
    assert isinstance(outcomes, tuple)
    return outcomes


def _calls(candidate: Candidate, request: Request) -> bool:
    return candidate.completion is not None and makes_wanted_call(candidate.completion, request)


def told_of_broken_terms(task: Task, plan: Plan) -> Plan:
    """The plan, with what its answer breaks of the request's terms for tool calls in `degraded`."""
    decision = yield from plan
    broken = broken_terms(decision.completion, task.request)
    return decision if broken is None else decision.also_degraded(broken)


def _outcome(candidate: Candidate) -> str:
    reason = candidate.error.code if candidate.error else "no answer in time"
    return f"{candidate.member} {candidate.status} ({reason})"
