"""Decisions that no judge model made, or not the first one in line, and what `degraded` says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.agreement.agreement import most_central
from fusion.chat import Request
from fusion.member import MemberProfile
from fusion.presets import Task
from fusion.results import Analysis, Candidate
from fusion.steps import Decision, JudgeFailures, format_failures
from fusion.structured.tool_rules import rule_violation


def judge_replaced_reason(failures: JudgeFailures) -> str | None:
    """Say that another judge model decided because these failed; None when none failed."""
    return f"judge_replaced: {format_failures(failures)}" if failures else None


def jury_incomplete_reason(failures: JudgeFailures) -> str | None:
    """Say which judge models of a jury gave no verdict; None when all did."""
    return f"jury_incomplete: {format_failures(failures)}" if failures else None


def fall_back(
    task: Task, candidates: Sequence[Candidate], failures: JudgeFailures, analysis: Analysis | None = None
) -> Decision:
    """Decide for the most trusted candidate because every judge model failed."""
    candidate = most_trusted(candidates, task.profiles)
    assert candidate.completion is not None
    degraded = f"judge_failed: {format_failures(failures)}; the answer is {candidate.member}'s"
    return Decision(completion=candidate.completion, degraded=degraded, analysis=analysis)


def judge_skipped(task: Task, candidates: Sequence[Candidate]) -> Decision:
    """Decide for the most trusted candidate because the deadline leaves no time for a judge model."""
    candidate = most_trusted(candidates, task.profiles)
    assert candidate.completion is not None
    degraded = f"judge_skipped: no time for it; the answer is {candidate.member}'s"
    return Decision(completion=candidate.completion, degraded=degraded)


def single_candidate(task: Task, candidate: Candidate) -> Decision:
    """Decide for the only candidate: there is nothing to judge."""
    assert candidate.completion is not None
    of_several = len(task.preset.panel) + len(task.left_out) > 1
    degraded = f"single_candidate: {candidate.member}" if of_several else None
    return Decision(completion=candidate.completion, degraded=degraded)


def most_trusted(candidates: Sequence[Candidate], profiles: Mapping[str, MemberProfile]) -> Candidate:
    """Return the most trusted of the answered candidates, which come in order of trust.

    Where several of them are samples of its model, the one closest to the other samples stands for them
    (self-consistency, arXiv 2203.11171); among different models closeness says nothing about quality.
    """
    first = candidates[0]
    origin = profiles[first.member].origin
    samples = [candidate for candidate in candidates if profiles[candidate.member].origin == origin]
    return most_central(samples)


def flag_tool_rule_violations(decision: Decision, request: Request) -> Decision:
    """Add to `degraded` which of the request's rules for tool calls the answer breaks."""
    broken = rule_violation(decision.completion, request)
    return decision if broken is None else decision.also_degraded(broken)
