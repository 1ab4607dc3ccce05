"""Decisions in which a judge model had no word, or not the first one, and what `degraded` says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion.agreement.agreement import most_central
from fusion.member import MemberProfile
from fusion.presets import Task
from fusion.results import Candidate
from fusion.steps import Decision, Failures, Plan, told
from fusion.structured.tool_rules import broken_terms


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


def most_trusted(candidates: Sequence[Candidate], profiles: Mapping[str, MemberProfile]) -> Candidate:
    """The most trusted of the answered candidates, which come in order of trust.

    Where several of them are samples of its model, the one closest to the other samples stands for them
    (self-consistency, arXiv 2203.11171); among different models closeness says nothing about quality.
    """
    first = candidates[0]
    origin = profiles[first.member].origin
    samples = [candidate for candidate in candidates if profiles[candidate.member].origin == origin]
    return most_central(samples)


def told_of_broken_terms(task: Task, plan: Plan) -> Plan:
    """The plan, with what its answer breaks of the request's terms for tool calls in `degraded`."""
    decision = yield from plan
    broken = broken_terms(decision.completion, task.request)
    return decision if broken is None else decision.also_degraded(broken)
