"""How a mode says what it wants done: a plan is a generator of steps.

A plan does no I/O. It yields a step, is sent what came of it, and returns its decision. A judge model that fails is
thrown into it as the `MemberError` it failed with.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from fusion.agreement.agreement import agreement
from fusion.chat import Request
from fusion.errors import NoQuorum
from fusion.presets import Task
from fusion.results import Candidate
from fusion.steps import Ahead, Convene, Opening, Plan, Reply, RoundResult, Settled, Step
from fusion.structured.admission import admitted, check_schema
from fusion.structured.tool_rules import broken_terms, makes_wanted_call, wants_call


def convene(
    task: Task, ahead: Ahead | None, opening: Opening | None = None
) -> Generator[Step, Reply, tuple[Task, tuple[Candidate, ...]]]:
    """The opening round: the request goes to the whole panel. Returns the task as it goes on, and the candidates that
    answered.

    Raises:
        InvalidRequest: answers cannot be held to the request's schema.
        NoQuorum: with every member's outcome.
    """
    check_schema(task.request)
    requests = dict.fromkeys(task.preset.panel, task.request)
    result = yield Convene(requests, settled=settled_by_agreement(task), opening=opening, ahead=ahead)
    assert isinstance(result, RoundResult)
    answered = tuple(candidate for candidate in result.candidates if candidate.status == "answered")
    if not result.has_quorum:
        outcomes = (*result.candidates, *task.left_out)
        missing = ", ".join(_outcome(candidate) for candidate in outcomes if candidate.status != "answered")
        when = "before the deadline" if result.timed_out else "and too few are left"
        raise NoQuorum(
            f"{len(answered)} of the {task.preset.quorum} candidates that a quorum needs answered {when}: {missing}",
            candidates=outcomes,
            timed_out=result.timed_out,
        )
    return replace(task, shown=result.shown), answered


def settled_by_agreement(task: Task, quorum: int | None = None) -> Settled:
    """When a round needs no more answers: those that came agree, whatever the others may say. `quorum` stands in for
    the panel's."""
    preset = task.preset
    enough = quorum or preset.quorum

    def settled(candidates: Sequence[Candidate], running: int) -> bool:
        valid, _ = admitted(task.request, candidates)
        if wants_call(task.request) and not all(_calls(candidate, task.request) for candidate in valid):
            return False
        found = agreement(valid, preset.agreement, enough, running)
        return found is not None and found.agreed

    return settled


def _calls(candidate: Candidate, request: Request) -> bool:
    return candidate.completion is not None and makes_wanted_call(candidate.completion, request)


def told_of_broken_terms(task: Task, plan: Plan) -> Plan:
    """The plan, with what its answer breaks of the request's terms for tool calls in `degraded`."""
    decision = yield from plan
    broken = broken_terms(decision.completion, task.request)
    return decision if broken is None else decision.also_degraded(broken)


def _outcome(candidate: Candidate) -> str:
    reason = candidate.error.code if candidate.error else "no answer in time"
    return f"{candidate.member} {candidate.status} ({reason})"
