"""Debate: members see each other's candidates, unnamed, and answer again, until they agree or the rounds are over;
then a judge decides (arXiv 2305.14325).

A member that fails in a rebuttal keeps its last answer, and a rebuttal in which every member fails changes nothing, so
a debate never does worse than its panel's round in finding a quorum.
"""

from __future__ import annotations

from fusion.agreement.agreement import agree
from fusion.ballot import blind
from fusion.judging.prompts import rebuttal_request
from fusion.modes.best_of import pick, verdict_prefill
from fusion.modes.convene import Answers, answer_if_agreed_else, compare_valid, convene, settled_by_agreement
from fusion.modes.merge import merge_prefill, write
from fusion.presets import Task
from fusion.results import Candidate
from fusion.steps import Convene, Decision, PrefillPlan, Run


async def debate(run: Run, task: Task) -> Decision:
    """Convene the panel, let it argue, then pick or write, as the preset says."""
    picks = task.preset.decision == "best-of"
    rounds = 0 if "rebuttals" in task.skips else task.preset.rounds
    prefill = verdict_prefill(task) if picks else merge_prefill(task)
    answers = await convene(run, task, None if rounds else prefill)
    for number in range(1, rounds + 1):
        if _is_settled(task, answers):
            break
        answers = await _rebut(run, task, answers, number, prefill if number == rounds else None)
    return await answer_if_agreed_else(pick if picks else write, run, task, answers)


def _is_settled(task: Task, answers: Answers) -> bool:
    found = compare_valid(task, answers.candidates)
    return len(answers.candidates) == 1 or (found is not None and found.agreed) or agree(answers.candidates)


async def _rebut(run: Run, task: Task, answers: Answers, number: int, prefill: PrefillPlan | None) -> Answers:
    """Show every member the others' candidates and ask it again. Returns each one's latest answer."""
    latest: dict[str, Candidate] = {candidate.member: candidate for candidate in answers.candidates}
    ballots = {
        member: blind([other for other in latest.values() if other is not own], task.request, task.seed + number)
        for member, own in latest.items()
    }
    requests = {member: rebuttal_request(task.request, own, ballots[member]) for member, own in latest.items()}
    settled = settled_by_agreement(task)
    result = await run.convene(
        Convene(requests, number, optional=True, settled=settled, prefill=prefill, ballots=ballots)
    )
    latest |= {candidate.member: candidate for candidate in result.candidates if candidate.status == "answered"}
    return Answers(tuple(latest.values()), result.prefilled)
