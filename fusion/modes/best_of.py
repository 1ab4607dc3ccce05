"""Best-of: a judge model scores every candidate, and the winner comes back verbatim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusion.admission import admitted
from fusion.assembly import Assembly
from fusion.errors import InvalidVerdict, MemberError, NoValidAnswer
from fusion.fallback import most_trusted
from fusion.judging import blind, read_verdict, verdict_request
from fusion.plan import AskJudge, Decision, Plan, ask_judge, convene
from fusion.preset import Task
from fusion.settling import settled_or
from fusion.succession import fallen_back, replaced, unjudged, unopposed
from fusion.values import Candidate


def best_of(task: Task) -> Plan:
    """Convene the panel, then pick."""
    candidates = yield from convene(task)
    return (yield from settled_or(pick, task, candidates))


def pick(task: Task, candidates: Sequence[Candidate]) -> Plan:
    """The best of the candidates by a judge model's verdict. Judges that fail give way to the next in line, and the
    last of them to the most trusted candidate. One that does not follow the request's schema is not in the running.

    Raises:
        NoValidAnswer: none follows it.
    """
    candidates, left_out = admitted(task.request, candidates)
    if not candidates:
        raise NoValidAnswer("no candidate follows the schema that was asked for")
    decision = yield from _picked(task, candidates)
    return replace(decision, assembly=Assembly(left_out)) if left_out else decision


def _picked(task: Task, candidates: Sequence[Candidate]) -> Plan:
    if len(candidates) == 1:
        return unopposed(task, candidates[0])
    if "judge" in task.skips:
        return unjudged(task, candidates)
    ballot = blind(candidates, task.request, task.seed)
    request = verdict_request(task.request, ballot)
    failures: list[tuple[str, str]] = []
    for judge, share in task.preset.judge_shares():
        try:
            completion = yield from ask_judge(AskJudge(judge, request, share))
            decided_by = completion.answered_by or judge
            verdict = read_verdict(completion.text, ballot, decided_by, task.preset.panel)
        except (MemberError, InvalidVerdict) as error:
            failures.append((judge, error.code))
            continue
        winner = next(candidate for candidate in candidates if candidate.member == verdict.winner)
        assert winner.completion is not None
        return Decision(winner.completion, decided_by, verdict, replaced(failures))
    return fallen_back(most_trusted(candidates, task.profiles), failures)
