"""Merge: a judge model writes one new answer from the candidates, which streams to the client as it is written.

Candidates that are no prose are put together otherwise: tool calls by a vote, JSON field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fusion.ballot import Ballot
from fusion.chat import Completion, Request
from fusion.errors import EmptyCompletion, JudgeInterrupted
from fusion.judging.analysis import analyse_before_decision, analysis_beside, analysis_notes, read_analysis
from fusion.judging.judge import ask_verdict
from fusion.judging.prompts import blocks_offered, merge_request
from fusion.judging.succession import first_success
from fusion.modes.convene import Answers, answer_if_agreed_else, convene, prefill_plan
from fusion.modes.merge_check import return_better
from fusion.modes.merge_json import write_json_answer
from fusion.modes.outcomes import fall_back, judge_replaced_reason, judge_skipped, most_trusted, single_candidate
from fusion.presets import Task, time_shares
from fusion.results import Analysis, Assembly, Candidate, Failure
from fusion.steps import JUDGE_STAGES, AskJudge, Decision, JudgeFailures, Outcome, PrefillPlan, Run
from fusion.structured.tool_vote import calls_tools, vote
from fusion.verbatim.expander import expand_references
from fusion.verbatim.references import Offer


async def merge(run: Run, task: Task) -> Decision:
    """Convene the panel, then write."""
    answers = await convene(run, task, merge_prefill(task))
    return await answer_if_agreed_else(write, run, task, answers)


def merge_prefill(task: Task) -> PrefillPlan | None:
    """Plan what a judge model can read of the drafts before all candidates are in; None where the answer may be put
    together without it."""
    if task.request.tools or task.request.response_schema is not None:
        return None
    return prefill_plan(task, lambda ballot: merge_request(task.request, ballot, offer=_offer(task, ballot)))


async def write(run: Run, task: Task, answers: Answers) -> Decision:
    """Make one answer from the candidates: tool calls or text, as a vote decides where they differ."""
    candidates = answers.candidates
    if not calls_tools(candidates):
        return await _write_text(run, task, answers)
    if len(candidates) == 1:
        return single_candidate(task, candidates[0])
    completion, tool_vote = vote(candidates, task.request)
    if completion is not None:
        return Decision(completion=completion, assembly=Assembly(tool_vote=tool_vote))
    writing = [candidate for candidate in candidates if candidate.member in tool_vote.voters]
    decision = await _write_text(run, task, answers.of(writing))
    return replace(decision, assembly=replace(decision.assembly or Assembly(), tool_vote=tool_vote))


async def _write_text(run: Run, task: Task, answers: Answers) -> Decision:
    candidates = answers.candidates
    if task.request.response_schema is not None:
        return await write_json_answer(run, task, candidates)
    if len(candidates) == 1:
        return single_candidate(task, candidates[0])
    if "judge" in task.skips:
        return judge_skipped(task, candidates)
    ballot = answers.ballot(task)
    analysis = await analyse_before_decision(run, task, ballot)
    offer = _offer(task, ballot)
    request = merge_request(task.request, ballot, analysis_notes(analysis, ballot), offer)
    drafts = _Drafts(candidates, ballot, request, offer, analysis)
    return await (_write_and_check if task.preset.no_harm else _stream)(run, task, drafts)


@dataclass(frozen=True, slots=True)
class _Drafts:
    """What a judge model is to write one answer from."""

    candidates: Sequence[Candidate]
    ballot: Ballot
    request: Request
    offer: Offer | None
    analysis: Analysis | None

    def read(self, outcome: Outcome) -> _Written | Failure:
        """Put in the blocks that a judge model took over. One that wrote nothing but references which name no block has
        failed."""
        if isinstance(outcome, Failure) or self.offer is None:
            return outcome if isinstance(outcome, Failure) else _Written(outcome)
        text, taken = expand_references(outcome.text, self.offer)
        if not text.strip() and not outcome.tool_calls:
            return EmptyCompletion("nothing but references to blocks that there are not").as_failure()
        return _Written(replace(outcome, text=text), Assembly(blocks=taken) if taken else None)

    def analysis_in(self, outcomes: Sequence[Outcome], judge: str) -> Analysis | None:
        """The analysis that was asked for beside the decision, or else the one before it."""
        return read_analysis(outcomes[0], self.ballot, judge) if outcomes else self.analysis


@dataclass(frozen=True, slots=True)
class _Written:
    """A judge model's answer, and how it was put together."""

    completion: Completion
    assembly: Assembly | None = None

    def decision(self, judge: str, failures: JudgeFailures, analysis: Analysis | None) -> Decision:
        return Decision(
            completion=self.completion,
            judge=self.completion.answered_by or judge,
            degraded=judge_replaced_reason(failures),
            assembly=self.assembly,
            analysis=analysis,
        )


async def _stream(run: Run, task: Task, drafts: _Drafts) -> Decision:
    """Have the judge models in line write the answer, which goes to the client as it comes."""
    asked: list[str] = []

    def asks_of(judge: str, share: float) -> list[AskJudge]:
        asked.append(judge)
        return [AskJudge(judge, drafts.request, share, streams=True, ballot=drafts.ballot, offer=drafts.offer)]

    def read(_judge: str, outcomes: Sequence[Outcome]) -> _Written | Failure:
        return drafts.read(outcomes[0])

    judges = task.preset.judges
    beside = analysis_beside(task, drafts.ballot) if drafts.analysis is None else ()
    try:
        found = await first_success(run, judges, asks_of, read, beside)
    except JudgeInterrupted as interrupted:
        if interrupted.partial is None:
            raise
        return Decision(completion=interrupted.partial, judge=asked[-1], degraded=f"deadline: {asked[-1]} was cut off")
    analysis = drafts.analysis_in(found.beside, judges[0]) if judges else drafts.analysis
    if found.value is None or found.judge is None:
        return fall_back(task, drafts.candidates, found.failures, analysis)
    return found.value.decision(found.judge, found.failures, analysis)


async def _write_and_check(run: Run, task: Task, drafts: _Drafts) -> Decision:
    """Have a judge model write the answer while another finds the best candidate, and return the better of the two."""
    preset = task.preset

    def asks_of(judge: str, share: float) -> list[AskJudge]:
        return [AskJudge(judge, drafts.request, share, stage=JUDGE_STAGES["merge"], ballot=drafts.ballot)]

    def read(_judge: str, outcomes: Sequence[Outcome]) -> _Written | Failure:
        return drafts.read(outcomes[0])

    judge, share = next(time_shares(preset.judges))
    beside = [*asks_of(judge, share), *analysis_beside(task, drafts.ballot)]
    judgement = await ask_verdict(run, task, drafts.ballot, preset.panel, preset.judges, beside=beside)
    analysis = drafts.analysis_in(judgement.beside[1:], judge)
    written, failures = read(judge, judgement.beside), []
    if isinstance(written, Failure):
        rest = await first_success(run, preset.judges[1:], asks_of, read)
        failures = [(judge, written.code), *rest.failures]
        if rest.value is None or rest.judge is None:
            return fall_back(task, drafts.candidates, failures, analysis)
        written, judge = rest.value, rest.judge
    verdict = judgement.verdict
    best = next((each for each in drafts.candidates if verdict and each.member == verdict.winner), None)
    best = best or most_trusted(drafts.candidates, task.profiles)
    return await return_better(run, task, written.decision(judge, failures, analysis), best)


def _offer(task: Task, ballot: Ballot) -> Offer | None:
    return blocks_offered(task.request, ballot, task.preset.panel) if task.preset.verbatim else None
