"""Convening the panel, and ending early where enough candidates agree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from fusion.agreement.agreement import agreement
from fusion.ballot import Ballot, blind
from fusion.chat import Request
from fusion.errors import NoQuorum
from fusion.judging.analysis import analysis_request
from fusion.presets import Task
from fusion.results import Agreement, Candidate
from fusion.steps import Convene, Decision, Opening, PrefillPlan, Run, Settled
from fusion.structured.admission import admitted, check_schema
from fusion.structured.tool_rules import makes_required_call, requires_call


@dataclass(frozen=True, slots=True)
class Answers:
    """The answered candidates that a decision is made from."""

    candidates: tuple[Candidate, ...]
    """In order of trust."""
    prefilled: tuple[str, ...] = ()
    """The members whose candidates the first judge model in line has read already, in that order."""

    def of(self, candidates: Sequence[Candidate]) -> Answers:
        """Return these candidates alone."""
        return replace(self, candidates=tuple(candidates))

    def ballot(self, task: Task) -> Ballot:
        """Return the ballot of the candidates, which continues what was prefilled."""
        return blind(self.candidates, task.request, task.seed, self.prefilled)


Decide = Callable[[Run, Task, Answers], Awaitable[Decision]]


async def convene(run: Run, task: Task, prefill: PrefillPlan | None, opening: Opening | None = None) -> Answers:
    """Send the request to the whole panel, and return the candidates that answered.

    Raises:
        InvalidRequest: answers cannot be held to the request's schema.
        NoQuorum: with every member's outcome.
    """
    check_schema(task.request)
    requests = dict.fromkeys(task.preset.panel, task.request)
    settled = settled_by_agreement(task)
    result = await run.convene(Convene(requests, settled=settled, opening=opening, prefill=prefill))
    answered = tuple(candidate for candidate in result.candidates if candidate.status == "answered")
    if not result.has_quorum:
        outcomes = (*result.candidates, *task.left_out)
        missing = ", ".join(_format_outcome(candidate) for candidate in outcomes if candidate.status != "answered")
        when = "before the deadline" if result.timed_out else "and too few are left"
        raise NoQuorum(
            f"{len(answered)} of the {task.preset.quorum} candidates that a quorum needs answered {when}: {missing}",
            candidates=outcomes,
            timed_out=result.timed_out,
        )
    return Answers(answered, result.prefilled)


def prefill_plan(task: Task, decision_request: Callable[[Ballot], Request]) -> PrefillPlan | None:
    """Plan what the first judge model in line can read while stragglers are waited for: the beginning of what it will
    be asked first, which is the analysis where that comes before the decision, and else the decision. None when there
    is nothing to read early."""
    preset = task.preset
    if not preset.prefill or "judge" in task.skips or len(preset.panel) == 1 or not preset.judges:
        return None

    def request_of(candidates: Sequence[Candidate], prefilled: Sequence[str]) -> tuple[Request, str] | None:
        valid, _ = admitted(task.request, candidates)
        if not valid:
            return None
        ballot = blind(valid, task.request, task.seed, prefilled)
        before = preset.analysis == "before"
        return analysis_request(task.request, ballot) if before else decision_request(ballot), ballot.last_line

    return PrefillPlan(preset.judges[0], request_of)


async def answer_if_agreed_else(
    decide: Decide, run: Run, task: Task, answers: Answers, quorum: int | None = None
) -> Decision:
    """Return the answer that enough of the candidates agree on, as the most trusted of them gave it; or else let
    `decide` decide on all of them. `quorum` replaces the panel's."""
    found = compare_valid(task, answers.candidates, quorum)
    if found is None or not found.agreed:
        return replace(await decide(run, task, answers), agreement=found)
    agreeing = next(candidate for candidate in answers.candidates if candidate.member in found.members)
    assert agreeing.completion is not None
    return Decision(completion=agreeing.completion, agreement=found)


def compare_valid(task: Task, candidates: Sequence[Candidate], quorum: int | None = None) -> Agreement | None:
    """Compare the candidates that follow the request's schema by the preset's rule; None when it compares none.
    `quorum` replaces the panel's."""
    preset = task.preset
    valid, _ = admitted(task.request, candidates)
    return agreement(valid, preset.agreement, quorum or preset.quorum)


def settled_by_agreement(task: Task, quorum: int | None = None) -> Settled:
    """Make the test that ends a round once a quorum agrees, whatever the others may answer. `quorum` replaces the
    panel's."""
    preset = task.preset
    enough = quorum or preset.quorum

    def settled(candidates: Sequence[Candidate], running: int) -> bool:
        valid, _ = admitted(task.request, candidates)
        if requires_call(task.request) and not all(_calls(candidate, task.request) for candidate in valid):
            return False
        found = agreement(valid, preset.agreement, enough, running)
        return found is not None and found.agreed

    return settled


def _calls(candidate: Candidate, request: Request) -> bool:
    return candidate.completion is not None and makes_required_call(candidate.completion, request)


def _format_outcome(candidate: Candidate) -> str:
    reason = candidate.failure.code if candidate.failure else "no answer in time"
    return f"{candidate.member} {candidate.status} ({reason})"
