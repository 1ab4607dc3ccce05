"""Whether a merge is worse than the best of what it was made from.

Fusing does not always help: a weak draft can pull a good one down (arXiv 2502.00674). So the judge compares the merge
with the best candidate, blind, and the candidate is returned if the merge loses.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from fusion.ballot import blind
from fusion.chat import Completion
from fusion.judging.judge import judged
from fusion.presets import Task
from fusion.results import Candidate, NoHarm
from fusion.steps import Decision, Reply, Step, told

MERGED = "merged answer"
"""What the merge is called in a verdict; no member's name has a space."""


STAGE = "no_harm"


def no_harm(task: Task, merged: Completion, writer: str, best: Candidate) -> Generator[Step, Reply, NoHarm]:
    """Compare a merge with the best candidate, in two opposite orders. A judge model that did not write the merge is
    asked first where there is one, for models favour their own text (arXiv 2404.13076). A tie leaves the merge."""
    judges = sorted(task.preset.judges, key=lambda judge: judge == writer)
    merge = replace(best, member=MERGED, completion=merged)
    ballot = blind([merge, best], task.request, task.seed ^ _OTHER_DRAW)
    judgement = yield from judged(task, ballot, (MERGED, best.member), judges, stage=STAGE)
    verdict = judgement.verdict
    kept = best.member if verdict and verdict.winner == best.member else None
    return NoHarm(best.member, kept, verdict, tuple(judgement.failures))


def checked(merge: Decision, best: Candidate, check: NoHarm) -> Decision:
    """What is returned after the check: the merge, unless it lost."""
    verdict, merge = check.verdict, replace(merge, no_harm=check)
    if verdict is None:
        return merge.also_degraded(f"no_harm_unchecked: {told(check.failures)}")
    if check.returned is None:
        return merge
    assert best.completion is not None
    lost = merge.also_degraded(f"merge_lost: {verdict.judge} prefers {best.member}'s candidate")
    return replace(lost, completion=best.completion, judge=verdict.judge, assembly=None)


_OTHER_DRAW = 0x5EED
"""Its order and fence are not those that the candidates were shown with."""
