"""Asking for a verdict: one judge model after the other until one gives it, or all of them at once as a jury."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from fusion.ballot import Ballot
from fusion.errors import InvalidVerdict, MemberError
from fusion.judging.kinship import kin
from fusion.judging.prompts import read_verdict, verdict_request
from fusion.judging.ranking import of_jury, of_orders, turned
from fusion.member import MemberProfile
from fusion.presets import Task, shares_of
from fusion.results import Verdict
from fusion.steps import AskJudge, Failures, Outcome, Reply, Step, ask_judges


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, None when no judge model gave one; which of them failed; and what came of the calls
    beside."""

    verdict: Verdict | None
    failures: Failures
    beside: tuple[Outcome, ...] = ()


def judged(
    task: Task,
    ballot: Ballot,
    trust: Sequence[str],
    judges: Sequence[str],
    beside: Sequence[AskJudge] = (),
    stage: str = "judge",
) -> Generator[Step, Reply, Judgement]:
    """A verdict on the ballot, in two opposite orders at once where the preset wants it and the deadline allows it. The
    calls `beside` go out with the first ones."""
    preset = task.preset
    in_order = preset.both_orders and "second_order" not in task.skips
    ballots = (ballot, turned(ballot)) if in_order else (ballot,)
    requests = [(each, verdict_request(task.request, each, preset.rubric)) for each in ballots]
    if preset.jury and len(judges) > 1:
        return (
            yield from _by_jury(
                task,
                [AskJudge(judge, request, stage=stage, ballot=each) for judge in judges for each, request in requests],
                ballots,
                trust,
                beside,
            )
        )
    failures: list[tuple[str, str]] = []
    aside: tuple[Outcome, ...] = ()
    for judge, share in shares_of(judges):
        asks = [AskJudge(judge, request, share, stage=stage, ballot=each) for each, request in requests]
        outcomes = yield from ask_judges([*asks, *(() if failures else beside)])
        aside = aside or outcomes[len(asks) :]
        verdicts, code = _read(task, outcomes[: len(asks)], ballots, judge, trust)
        if verdicts:
            return Judgement(_with_kin(task, of_orders(verdicts, trust)), failures, aside)
        failures.append((judge, code))
    return Judgement(None, failures, aside)


def _by_jury(
    task: Task, asks: Sequence[AskJudge], ballots: Sequence[Ballot], trust: Sequence[str], beside: Sequence[AskJudge]
) -> Generator[Step, Reply, Judgement]:
    """The verdict of all judges that give one. Once most of their calls are answered the others have a straggler's
    grace."""
    grace = task.preset.policy.straggler_grace
    outcomes = yield from ask_judges([*asks, *beside], jurors=len(asks), grace=grace)
    orders: list[list[Verdict]] = []
    abstained: dict[str, str] = {}
    for first in range(0, len(asks), len(ballots)):
        judge = asks[first].judge
        verdicts, code = _read(task, outcomes[first : first + len(ballots)], ballots, judge, trust)
        if verdicts:
            orders.append([_with_kin(task, verdict) for verdict in verdicts])
        else:
            abstained[judge] = code
    verdict = of_jury(orders, abstained, trust) if orders else None
    return Judgement(verdict, tuple(abstained.items()), outcomes[len(asks) :])


def _read(
    task: Task, outcomes: Sequence[Outcome], ballots: Sequence[Ballot], judge: str, trust: Sequence[str]
) -> tuple[list[Verdict], str]:
    """The verdicts in a judge model's replies; where there is none, the first one's error code."""
    verdicts: list[Verdict] = []
    codes: list[str] = []
    for outcome, ballot in zip(outcomes, ballots, strict=True):
        if isinstance(outcome, MemberError):
            codes.append(outcome.code)
            continue
        try:
            read = read_verdict(outcome.text, ballot, outcome.answered_by or judge, trust, task.preset.rubric)
            verdicts.append(read)
        except InvalidVerdict as error:
            codes.append(error.code)
    return verdicts, codes[0] if codes else ""


def _with_kin(task: Task, verdict: Verdict) -> Verdict:
    profiles: Mapping[str, MemberProfile] = task.profiles
    judge = profiles.get(verdict.judge)
    members = [profiles[member] for member in verdict.order if member in profiles]
    return replace(verdict, kin=kin(judge, members)) if judge else verdict
