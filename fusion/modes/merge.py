"""Merge: a judge model writes one new answer from the candidates, and its words stream to the client as they come.

Where words do not merge it is put together otherwise: calls of tools by a vote, JSON field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusion.ballot import Ballot, blind
from fusion.chat import Request
from fusion.errors import EmptyCompletion, JudgeInterrupted, MemberError
from fusion.judging.analysis import analysed_before, analysis_asks, noted, read_analysis
from fusion.judging.judge import judged
from fusion.judging.prompts import blocks_offered, merge_request
from fusion.modes.merge_check import checked, no_harm
from fusion.modes.merge_json import write_json_answer
from fusion.modes.outcomes import fallen_back, most_trusted, replaced, unjudged, unopposed
from fusion.modes.panel import ahead, convene, settled_or
from fusion.presets import Task
from fusion.results import Analysis, Assembly, Candidate
from fusion.steps import JUDGE_STAGES, Ahead, AskJudge, Decision, Outcome, Plan, ask_judges
from fusion.structured.tool_vote import calls_tools, vote
from fusion.verbatim.references import Offer
from fusion.verbatim.restorer import restored


def merge(task: Task) -> Plan:
    """Convene the panel, then write."""
    task, candidates = yield from convene(task, drafts_ahead(task))
    return (yield from settled_or(write, task, candidates))


def drafts_ahead(task: Task) -> Ahead | None:
    """What a judge model can read of the drafts before all candidates are in. Where the answer may be put together
    without it nothing is."""
    if task.request.tools or task.request.response_schema is not None:
        return None
    return ahead(task, lambda ballot: merge_request(task.request, ballot, offer=_offer(task, ballot)))


def write(task: Task, candidates: Sequence[Candidate]) -> Plan:
    """One answer from the candidates: calls of tools or words, as a vote decides where they differ."""
    if not calls_tools(candidates):
        return (yield from _write_words(task, candidates))
    if len(candidates) == 1:
        return unopposed(task, candidates[0])
    completion, tool_vote = vote(candidates, task.request)
    if completion is not None:
        return Decision(completion, assembly=Assembly(tool_vote=tool_vote))
    speaking = [candidate for candidate in candidates if candidate.member in tool_vote.voters]
    decision = yield from _write_words(task, speaking)
    return replace(decision, assembly=replace(decision.assembly or Assembly(), tool_vote=tool_vote))


def _write_words(task: Task, candidates: Sequence[Candidate]) -> Plan:
    if task.request.response_schema is not None:
        return (yield from write_json_answer(task, candidates))
    if len(candidates) == 1:
        return unopposed(task, candidates[0])
    if "judge" in task.skips:
        return unjudged(task, candidates)
    ballot = blind(candidates, task.request, task.seed, task.shown)
    analysis = yield from analysed_before(task, ballot)
    offer = _offer(task, ballot)
    request = merge_request(task.request, ballot, noted(analysis, ballot), offer)
    if task.preset.no_harm:
        return (yield from _written_and_checked(task, candidates, ballot, request, analysis, offer))
    failures: list[tuple[str, str]] = []
    for judge, share in task.preset.judge_shares():
        aside = analysis_asks(task, ballot) if analysis is None else ()
        try:
            ask = AskJudge(judge, request, share, streams=True, ballot=ballot, offer=offer)
            outcome, *beside = yield from ask_judges([ask, *aside])
        except JudgeInterrupted as interrupted:
            if interrupted.partial is None:
                raise
            return Decision(interrupted.partial, judge, degraded=f"deadline: {judge} was cut off")
        for found in beside:
            analysis = read_analysis(found, ballot, task.preset.judges[0])
        written, assembly = _with_blocks(outcome, offer)
        if isinstance(written, MemberError):
            failures.append((judge, written.code))
            continue
        return Decision(
            written,
            written.answered_by or judge,
            degraded=replaced(failures),
            assembly=assembly,
            suspicious=ballot.suspicious,
            analysis=analysis,
        )
    return replace(fallen_back(most_trusted(candidates, task.profiles), failures), analysis=analysis)


def _written_and_checked(
    task: Task,
    candidates: Sequence[Candidate],
    ballot: Ballot,
    request: Request,
    analysis: Analysis | None,
    offer: Offer | None,
) -> Plan:
    """A merge that is held back until it was compared with the best candidate, which is found while it is written."""
    preset = task.preset
    stage = JUDGE_STAGES["merge"]
    asks = [AskJudge(judge, request, share, stage=stage, ballot=ballot) for judge, share in preset.judge_shares()]
    alone = replace(task, preset=replace(preset, jury=False))
    aside = [asks[0], *analysis_asks(task, ballot)]
    judgement = yield from judged(alone, ballot, preset.panel, preset.judges, aside)
    outcome, *found = judgement.beside
    for each in found:
        analysis = read_analysis(each, ballot, preset.judges[0])
    judge = asks[0].judge
    written, assembly = _with_blocks(outcome, offer)
    failures: list[tuple[str, str]] = []
    for ask in asks[1:]:
        if not isinstance(written, MemberError):
            break
        failures.append((judge, written.code))
        judge = ask.judge
        [outcome] = yield from ask_judges([ask])
        written, assembly = _with_blocks(outcome, offer)
    if isinstance(written, MemberError):
        failures.append((judge, written.code))
        return replace(fallen_back(most_trusted(candidates, task.profiles), failures), analysis=analysis)
    writer = written.answered_by or judge
    merge = Decision(written, writer, None, replaced(failures), None, assembly, ballot.suspicious, analysis)
    verdict = judgement.verdict
    best = next((each for each in candidates if verdict and each.member == verdict.winner), None)
    best = best or most_trusted(candidates, task.profiles)
    return checked(merge, best, (yield from no_harm(task, written, writer, best)))


def _offer(task: Task, ballot: Ballot) -> Offer | None:
    return blocks_offered(task.request, ballot, task.preset.panel) if task.preset.verbatim else None


def _with_blocks(outcome: Outcome, offer: Offer | None) -> tuple[Outcome, Assembly | None]:
    """What a judge model wrote with the blocks that it took over put in. One that wrote references which name nothing,
    and nothing else, has failed."""
    if isinstance(outcome, MemberError) or offer is None:
        return outcome, None
    text, taken = restored(outcome.text, offer)
    if not text.strip() and not outcome.tool_calls:
        return EmptyCompletion("nothing but references to blocks that there are not"), None
    return replace(outcome, text=text), Assembly(blocks=taken) if taken else None
