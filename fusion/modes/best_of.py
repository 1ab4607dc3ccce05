"""Best-of: a judge model scores every candidate, in two opposite orders at once, and the winner comes back verbatim."""

from __future__ import annotations

from dataclasses import replace

from fusion.errors import NoValidAnswer
from fusion.judging.analysis import analyse_before_decision, analysis_beside, read_analysis
from fusion.judging.judge import ask_verdict
from fusion.judging.prompts import verdict_request
from fusion.modes.convene import Answers, answer_if_agreed_else, convene, prefill_plan
from fusion.modes.outcomes import (
    fall_back,
    judge_replaced_reason,
    judge_skipped,
    jury_incomplete_reason,
    single_candidate,
)
from fusion.presets import Task
from fusion.results import Assembly
from fusion.steps import Decision, PrefillPlan, Run
from fusion.structured.admission import admitted


async def best_of(run: Run, task: Task) -> Decision:
    """Convene the panel, then pick."""
    answers = await convene(run, task, verdict_prefill(task))
    return await answer_if_agreed_else(pick, run, task, answers)


def verdict_prefill(task: Task) -> PrefillPlan | None:
    """Plan what a judge model can read of the ballot before all candidates are in."""
    return prefill_plan(task, lambda ballot: verdict_request(task.request, ballot, task.preset.rubric))


async def pick(run: Run, task: Task, answers: Answers) -> Decision:
    """Pick the best of the candidates that follow the request's schema by a judge model's verdict. A judge model that
    fails is replaced by the next in line, the last of them by the most trusted candidate.

    Raises:
        NoValidAnswer: no candidate follows the schema.
    """
    valid, left_out = admitted(task.request, answers.candidates)
    if not valid:
        raise NoValidAnswer("no candidate follows the schema that was asked for")
    decision = await _pick_valid(run, task, answers.of(valid))
    return replace(decision, assembly=Assembly(left_out)) if left_out else decision


async def _pick_valid(run: Run, task: Task, answers: Answers) -> Decision:
    preset, candidates = task.preset, answers.candidates
    if len(candidates) == 1:
        return single_candidate(task, candidates[0])
    if "judge" in task.skips:
        return judge_skipped(task, candidates)
    ballot = answers.ballot(task)
    analysis = await analyse_before_decision(run, task, ballot)
    judgement = await ask_verdict(
        run, task, ballot, preset.panel, preset.judges, beside=analysis_beside(task, ballot), jury=preset.jury
    )
    for outcome in judgement.beside:
        analysis = read_analysis(outcome, ballot, preset.judges[0])
    verdict, failures = judgement.verdict, judgement.failures
    if verdict is None:
        return fall_back(task, candidates, failures, analysis)
    winner = next(candidate for candidate in candidates if candidate.member == verdict.winner)
    assert winner.completion is not None
    return Decision(
        completion=winner.completion,
        judge=verdict.judge,
        verdict=verdict,
        degraded=jury_incomplete_reason(failures) if verdict.jury else judge_replaced_reason(failures),
        analysis=analysis,
    )
