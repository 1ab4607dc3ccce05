"""Best-of: a judge model scores every candidate, in two opposite orders at once, and the winner comes back verbatim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusion.ballot import blind
from fusion.errors import NoValidAnswer
from fusion.judging.analysis import analysed_before, analysis_asks, read_analysis
from fusion.judging.judge import judged
from fusion.judging.prompts import verdict_request
from fusion.modes.outcomes import abstained, fallen_back, most_trusted, replaced, unjudged, unopposed
from fusion.modes.panel import ahead, convene, settled_or
from fusion.presets import Task
from fusion.results import Assembly, Candidate
from fusion.steps import Ahead, Decision, Plan
from fusion.structured.admission import admitted


def best_of(task: Task) -> Plan:
    """Convene the panel, then pick."""
    task, candidates = yield from convene(task, verdict_ahead(task))
    return (yield from settled_or(pick, task, candidates))


def verdict_ahead(task: Task) -> Ahead | None:
    """What a judge model can read of the ballot before all candidates are in."""
    return ahead(task, lambda ballot: verdict_request(task.request, ballot, task.preset.rubric))


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
    ballot = blind(candidates, task.request, task.seed, task.shown)
    analysis = yield from analysed_before(task, ballot)
    judgement = yield from judged(task, ballot, task.preset.panel, task.preset.judges, analysis_asks(task, ballot))
    for outcome in judgement.beside:
        analysis = read_analysis(outcome, ballot, task.preset.judges[0])
    verdict, failures = judgement.verdict, judgement.failures
    if verdict is None:
        return replace(fallen_back(most_trusted(candidates, task.profiles), failures), analysis=analysis)
    winner = next(candidate for candidate in candidates if candidate.member == verdict.winner)
    assert winner.completion is not None
    degraded = abstained(failures) if verdict.jury else replaced(failures)
    return Decision(
        winner.completion, verdict.judge, verdict, degraded, suspicious=ballot.suspicious, analysis=analysis
    )
