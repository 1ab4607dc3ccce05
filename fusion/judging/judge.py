"""Asking for a verdict: one judge model after the other until one gives it, or all of them at once as a jury."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fusion.ballot import Ballot
from fusion.errors import InvalidVerdict
from fusion.judging.kinship import kin
from fusion.judging.prompts import read_verdict, verdict_request
from fusion.judging.ranking import combine_jury, combine_orders, reversed_order
from fusion.judging.succession import first_success
from fusion.presets import Task
from fusion.results import Failure, Stage, Verdict
from fusion.steps import AskJudge, JudgeFailures, Outcome, Run


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, None when no judge model gave one; the judge models that failed; and the outcomes of the calls
    beside."""

    verdict: Verdict | None
    failures: JudgeFailures
    beside: tuple[Outcome, ...] = ()


async def ask_verdict(
    run: Run,
    task: Task,
    ballot: Ballot,
    trust: Sequence[str],
    judges: Sequence[str],
    *,
    beside: Sequence[AskJudge] = (),
    stage: Stage = "judge",
    jury: bool = False,
) -> Judgement:
    """Ask for a verdict on the ballot, in two opposite orders at once where the preset wants it and the deadline allows
    it; of all judge models as a `jury`, or of one after the other. The calls `beside` go out with the first ones."""
    preset = task.preset
    both = preset.both_orders and "second_order" not in task.skips
    ballots = (ballot, reversed_order(ballot)) if both else (ballot,)
    requests = [(shown, verdict_request(task.request, shown, preset.rubric)) for shown in ballots]

    def asks_of(judge: str, share: float = 1.0) -> list[AskJudge]:
        return [AskJudge(judge, request, share, stage=stage, ballot=shown) for shown, request in requests]

    def read(judge: str, outcomes: Sequence[Outcome]) -> list[Verdict] | Failure:
        return _read(task, outcomes, ballots, judge, trust)

    if not (jury and len(judges) > 1):
        found = await first_success(run, judges, asks_of, read, beside)
        verdict = _with_kin(task, combine_orders(found.value, trust)) if found.value else None
        return Judgement(verdict, found.failures, found.beside)
    asks = [ask for judge in judges for ask in asks_of(judge)]
    grace = preset.policy.straggler_grace
    outcomes = await run.ask_judges([*asks, *beside], jurors=len(asks), grace=grace)
    orders: list[list[Verdict]] = []
    abstained: dict[str, str] = {}
    for first in range(0, len(asks), len(ballots)):
        judge = asks[first].judge
        verdicts = read(judge, outcomes[first : first + len(ballots)])
        if isinstance(verdicts, Failure):
            abstained[judge] = verdicts.code
        else:
            orders.append([_with_kin(task, verdict) for verdict in verdicts])
    verdict = combine_jury(orders, abstained, trust) if orders else None
    return Judgement(verdict, tuple(abstained.items()), outcomes[len(asks) :])


def _read(
    task: Task, outcomes: Sequence[Outcome], ballots: Sequence[Ballot], judge: str, trust: Sequence[str]
) -> list[Verdict] | Failure:
    """The verdicts in a judge model's replies; where there is none, the first failure."""
    verdicts: list[Verdict] = []
    failures: list[Failure] = []
    for outcome, ballot in zip(outcomes, ballots, strict=True):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            continue
        try:
            answered_by = outcome.answered_by or judge
            verdicts.append(read_verdict(outcome.text, ballot, answered_by, trust, task.preset.rubric))
        except InvalidVerdict as error:
            failures.append(error.as_failure())
    return verdicts or failures[0]


def _with_kin(task: Task, verdict: Verdict) -> Verdict:
    judge = task.profiles.get(verdict.judge)
    members = [task.profiles[member] for member in verdict.order if member in task.profiles]
    return replace(verdict, kin=kin(judge, members)) if judge else verdict
