"""Best-of: a judge model scores every candidate, in two opposite orders at once, and the winner comes back verbatim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusion.admission import admitted
from fusion.assembly import Assembly
from fusion.errors import InvalidVerdict, MemberError, NoValidAnswer
from fusion.fallback import most_trusted
from fusion.judging import Ballot, blind, of_both_orders, read_verdict, turned, verdict_request
from fusion.plan import AskJudge, Decision, Outcome, Plan, ask_judges, convene
from fusion.preset import Task
from fusion.settling import settled_or
from fusion.succession import fallen_back, replaced, unjudged, unopposed
from fusion.values import Candidate, Verdict


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
    in_order = task.preset.both_orders and "second_order" not in task.skips
    ballots = (ballot, turned(ballot)) if in_order else (ballot,)
    requests = [verdict_request(task.request, ballot) for ballot in ballots]
    failures: list[tuple[str, str]] = []
    for judge, share in task.preset.judge_shares():
        outcomes = yield from ask_judges([AskJudge(judge, request, share) for request in requests])
        verdict, code = _verdict(outcomes, ballots, judge, task.preset.panel)
        if verdict is None:
            failures.append((judge, code))
            continue
        winner = next(candidate for candidate in candidates if candidate.member == verdict.winner)
        assert winner.completion is not None
        return Decision(winner.completion, verdict.judge, verdict, replaced(failures), suspicious=ballot.suspicious)
    return fallen_back(most_trusted(candidates, task.profiles), failures)


def _verdict(
    outcomes: Sequence[Outcome], ballots: Sequence[Ballot], judge: str, trust: Sequence[str]
) -> tuple[Verdict | None, str]:
    """What a judge model's replies come to; where there is no verdict in any, None and the first one's error code."""
    verdicts: list[Verdict] = []
    codes: list[str] = []
    for outcome, ballot in zip(outcomes, ballots, strict=True):
        if isinstance(outcome, MemberError):
            codes.append(outcome.code)
            continue
        try:
            verdicts.append(read_verdict(outcome.text, ballot, outcome.answered_by or judge, trust))
        except InvalidVerdict as error:
            codes.append(error.code)
    if len(verdicts) == 2:
        return of_both_orders(verdicts[0], verdicts[1], trust), ""
    return (verdicts[0], "") if verdicts else (None, codes[0])
