"""What a mode can ask for, and the decision that it ends with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fusion.ballot import Ballot
from fusion.chat import Completion, Request
from fusion.errors import MemberError
from fusion.results import Agreement, Analysis, Assembly, Candidate, NoHarm, Suspicion, Verdict
from fusion.verbatim.references import Offer

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


Failures = Sequence[tuple[str, str]]
"""The judges that failed, in the order they were asked, each with its error's code."""


def told(failures: Failures) -> str:
    """The failures as `degraded` has them."""
    return ", ".join(f"{judge} ({code})" for judge, code in failures)


def panel_stage(round_number: int) -> str:
    """The stage that the members' calls of this round belong to."""
    return "rebuttal" if round_number else "panel"


JUDGE_STAGES = {"best-of": "judge", "merge": "write"}
"""What a judge model's calls are recorded as, by the way in which they decide."""


Settled = Callable[[Sequence[Candidate], int], bool]
"""Whether the candidates that answered, in order of trust, say enough, whatever so many that still run may answer."""
