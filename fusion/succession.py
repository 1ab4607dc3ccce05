"""Decisions in which a judge model had no word, or not the first one, and what `degraded` says of them."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.fallback import most_trusted
from fusion.presets import Task
from fusion.results import Candidate
from fusion.steps import Decision, Failures, told


def replaced(failures: Failures) -> str | None:
    """What to say when a judge decided after these had failed."""
    return f"judge_replaced: {told(failures)}" if failures else None


def abstained(failures: Failures) -> str | None:
    """What to say when some of a jury had no word."""
    return f"jury_incomplete: {told(failures)}" if failures else None


def fallen_back(candidate: Candidate, failures: Failures) -> Decision:
    """The candidate's answer, because every judge failed."""
    assert candidate.completion is not None
    return Decision(
        candidate.completion, degraded=f"judge_failed: {told(failures)}; the answer is {candidate.member}'s"
    )


def unjudged(task: Task, candidates: Sequence[Candidate]) -> Decision:
    """The most trusted candidate's answer, because the deadline leaves no time for a judge."""
    candidate = most_trusted(candidates, task.profiles)
    assert candidate.completion is not None
    return Decision(candidate.completion, degraded=f"judge_skipped: no time for it; the answer is {candidate.member}'s")


def unopposed(task: Task, candidate: Candidate) -> Decision:
    """The only candidate's answer: there is nothing to judge."""
    assert candidate.completion is not None
    alone = len(task.preset.panel) + len(task.left_out) > 1
    return Decision(candidate.completion, degraded=f"single_candidate: {candidate.member}" if alone else None)
