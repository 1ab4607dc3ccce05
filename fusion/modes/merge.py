"""Merge: a judge model writes one new answer from the candidates, and its words stream to the client as they come."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.errors import JudgeInterrupted, MemberError
from fusion.fallback import most_trusted
from fusion.judging import blind, merge_request
from fusion.modes.best_of import pick
from fusion.plan import AskJudge, Decision, Plan, ask_judge, convene
from fusion.preset import Task
from fusion.settling import settled_or
from fusion.succession import fallen_back, replaced, unjudged, unopposed
from fusion.values import Candidate


def merge(task: Task) -> Plan:
    """Convene the panel, then write."""
    candidates = yield from convene(task)
    return (yield from settled_or(write, task, candidates))


def write(task: Task, candidates: Sequence[Candidate]) -> Plan:
    """One answer from the candidates. Where one of them calls tools they cannot be written into one: the best is
    picked instead."""
    if any(candidate.completion and candidate.completion.tool_calls for candidate in candidates):
        return (yield from pick(task, candidates))
    if len(candidates) == 1:
        return unopposed(task, candidates[0])
    if "judge" in task.skips:
        return unjudged(task, candidates)
    request = merge_request(task.request, blind(candidates, task.request, task.seed))
    failures: list[tuple[str, str]] = []
    for judge, share in task.preset.judge_shares():
        try:
            completion = yield from ask_judge(AskJudge(judge, request, share, streams=True))
        except MemberError as error:
            failures.append((judge, error.code))
            continue
        except JudgeInterrupted as interrupted:
            if interrupted.partial is None:
                raise
            return Decision(interrupted.partial, judge, degraded=f"deadline: {judge} was cut off")
        return Decision(completion, completion.answered_by or judge, degraded=replaced(failures))
    return fallen_back(most_trusted(candidates, task.profiles), failures)
