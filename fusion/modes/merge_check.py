"""Checking a merge: whether it is worse than the best of the candidates that it was made from.

Fusing does not always help: a weak draft can pull a good one down (arXiv 2502.00674). So a judge model compares the
merge with the best candidate, blind, and the candidate is returned if the merge loses.
"""

from __future__ import annotations

from dataclasses import replace

from fusion.ballot import blind
from fusion.judging.judge import ask_verdict
from fusion.presets import Task
from fusion.results import Candidate, NoHarm
from fusion.steps import Decision, Run, format_failures

MERGED = "merged answer"
"""What the merge is called in a verdict; no member's name has a space."""


_SEED_MASK = 0x5EED
"""Draws another order and fence than those that the candidates were shown with."""


async def return_better(run: Run, task: Task, merge: Decision, best: Candidate) -> Decision:
    """Compare a merge with the best candidate, and return the better of the two; the merge where they tie or no judge
    model can tell.

    A judge model that did not write the merge is asked first where there is one, for models favour their own text
    (arXiv 2404.13076).
    """
    judges = sorted(task.preset.judges, key=lambda judge: judge == merge.judge)
    merged = replace(best, member=MERGED, completion=merge.completion)
    ballot = blind([merged, best], task.request, task.seed ^ _SEED_MASK)
    judgement = await ask_verdict(
        run, task, ballot, (MERGED, best.member), judges, stage="no_harm", jury=task.preset.jury
    )
    verdict = judgement.verdict
    lost = verdict is not None and verdict.winner == best.member
    check = NoHarm(best.member, best.member if lost else None, verdict, tuple(judgement.failures))
    merge = replace(merge, no_harm=check)
    if verdict is None:
        return merge.also_degraded(f"no_harm_unchecked: {format_failures(check.failures)}")
    if not lost:
        return merge
    assert best.completion is not None
    merge = merge.also_degraded(f"merge_lost: {verdict.judge} prefers {best.member}'s candidate")
    return replace(merge, completion=best.completion, judge=verdict.judge, assembly=None)
