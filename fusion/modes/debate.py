"""Debate: members see each other's candidates, unnamed, and answer again, until they agree or the rounds are over;
then a judge decides (arXiv 2305.14325).

A member that fails in a rebuttal keeps its last answer, and a rebuttal in which nobody answers changes nothing, so a
debate never does worse than its opening round in finding a quorum.
"""

from __future__ import annotations

from dataclasses import replace

from fusion.agreement.agreement import agree
from fusion.ballot import blind
from fusion.judging.prompts import rebuttal_request
from fusion.modes.best_of import pick, verdict_ahead
from fusion.modes.merge import drafts_ahead, write
from fusion.modes.panel import agreed, convene, settled_by_agreement, settled_or
from fusion.presets import Task
from fusion.steps import Convene, Plan, RoundResult


def debate(task: Task) -> Plan:
    """Convene the panel, let it argue, then pick or write, as the preset says."""
    best_of = task.preset.decision == "best-of"
    rounds = 0 if "rebuttals" in task.skips else task.preset.rounds
    last_words = verdict_ahead(task) if best_of else drafts_ahead(task)
    task, answered = yield from convene(task, None if rounds else last_words)
    latest = {candidate.member: candidate for candidate in answered}
    for number in range(1, rounds + 1):
        candidates = list(latest.values())
        found = agreed(task, candidates)
        if len(latest) == 1 or (found and found.agreed) or agree(candidates):
            break
        ballots = {
            member: blind([other for other in candidates if other is not own], task.request, task.seed + number)
            for member, own in latest.items()
        }
        requests = {member: rebuttal_request(task.request, own, ballots[member]) for member, own in latest.items()}
        words = last_words if number == rounds else None
        settled = settled_by_agreement(task)
        result = yield Convene(requests, number, optional=True, settled=settled, ahead=words, ballots=ballots)
        assert isinstance(result, RoundResult)
        latest |= {candidate.member: candidate for candidate in result.candidates if candidate.status == "answered"}
        task = replace(task, shown=result.shown)
    decide = pick if best_of else write
    return (yield from settled_or(decide, task, list(latest.values())))
