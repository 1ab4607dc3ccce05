"""Convene the panel, and end early where enough candidates agree."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from fusion.agreement.agreement import agreement
from fusion.ballot import Ballot, blind
from fusion.chat import Request
from fusion.errors import NoQuorum
from fusion.judging.analysis import analysis_request
from fusion.presets import Task
from fusion.results import Agreement, Candidate
from fusion.steps import Ahead, Convene, Decision, Opening, Plan, Reply, RoundResult, Settled, Step
from fusion.structured.admission import admitted, check_schema
from fusion.structured.tool_rules import makes_wanted_call, wants_call

Decide = Callable[[Task, Sequence[Candidate]], Plan]


def agreed(task: Task, candidates: Sequence[Candidate], quorum: int | None = None) -> Agreement | None:
    """Whether the candidates agree, by the preset's own rule; None when they were not compared. `quorum` stands in for
    the panel's."""
    preset = task.preset
    valid, _ = admitted(task.request, candidates)
    return agreement(valid, preset.agreement, quorum or preset.quorum)


def settled_or(decide: Decide, task: Task, candidates: Sequence[Candidate], quorum: int | None = None) -> Plan:
    """The answer that enough of the candidates agree on, as the most trusted of them gave it; or else what `decide`
    makes of all of them."""
    found = agreed(task, candidates, quorum)
    if found is None or not found.agreed:
        return replace((yield from decide(task, candidates)), agreement=found)
    spokesman = next(candidate for candidate in candidates if candidate.member in found.members)
    assert spokesman.completion is not None
    return Decision(spokesman.completion, agreement=found)


def ahead(task: Task, decision_of: Callable[[Ballot], Request]) -> Ahead | None:
    """The beginning of what the first judge model in line will be asked first: for an analysis that comes before the
    decision, else for the decision itself. None when it is not to read ahead."""
    preset = task.preset
    if not preset.prefill or "judge" in task.skips or len(preset.panel) == 1 or not preset.judges:
        return None

    def request_of(candidates: Sequence[Candidate], shown: Sequence[str]) -> tuple[Request, str] | None:
        valid, _ = admitted(task.request, candidates)
        if not valid:
            return None
        ballot = blind(valid, task.request, task.seed, shown)
        before = preset.analysis == "before"
        return analysis_request(task.request, ballot) if before else decision_of(ballot), ballot.last_line

    return Ahead(preset.judges[0], request_of)


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


def _outcome(candidate: Candidate) -> str:
    reason = candidate.failure.code if candidate.failure else "no answer in time"
    return f"{candidate.member} {candidate.status} ({reason})"
