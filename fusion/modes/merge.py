"""Merge: a judge model writes one new answer from the candidates, and its words stream to the client as they come.

Where words do not merge it is put together otherwise: calls of tools by a vote, JSON field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusion.assembly import Assembly
from fusion.errors import JudgeInterrupted, MemberError
from fusion.fallback import most_trusted
from fusion.judging import blind, merge_request
from fusion.modes.by_field import write_json_answer
from fusion.plan import AskJudge, Decision, Plan, ask_judge, convene
from fusion.preset import Task
from fusion.settling import settled_or
from fusion.succession import fallen_back, replaced, unjudged, unopposed
from fusion.tool_voting import calls_tools, vote
from fusion.values import Candidate


def merge(task: Task) -> Plan:
    """Convene the panel, then write."""
    candidates = yield from convene(task)
    return (yield from settled_or(write, task, candidates))


def write(task: Task, candidates: Sequence[Candidate]) -> Plan:
    """One answer from the candidates: calls of tools or words, as a vote decides where they differ."""
    if not calls_tools(candidates):
        return (yield from _write_words(task, candidates))
    if len(candidates) == 1:
        return unopposed(task, candidates[0])
    completion, tool_vote = vote(candidates, task.request)
    if completion is not None:
        return Decision(completion, assembly=Assembly(tool_vote=tool_vote))
    speaking = [candidate for candidate in candidates if candidate.member in tool_vote.voters]
    decision = yield from _write_words(task, speaking)
    return replace(decision, assembly=replace(decision.assembly or Assembly(), tool_vote=tool_vote))


def _write_words(task: Task, candidates: Sequence[Candidate]) -> Plan:
    if task.request.response_schema is not None:
        return (yield from write_json_answer(task, candidates))
    if len(candidates) == 1:
        return unopposed(task, candidates[0])
    if "judge" in task.skips:
        return unjudged(task, candidates)
    ballot = blind(candidates, task.request, task.seed)
    request = merge_request(task.request, ballot)
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
        decided_by = completion.answered_by or judge
        return Decision(completion, decided_by, degraded=replaced(failures), suspicious=ballot.suspicious)
    return fallen_back(most_trusted(candidates, task.profiles), failures)
