"""Asking a judge model where the candidates agree and differ, and reading its reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fusion.ballot import Ballot
from fusion.chat import JsonSchema, Request, Sampling
from fusion.judging.prompts import analysis_messages
from fusion.judging.succession import first_success
from fusion.judging.verdict import closed, objects
from fusion.presets import Task
from fusion.results import Analysis, Contradiction, Failure, Point
from fusion.steps import AskJudge, Outcome, Run
from fusion.text.json_text import list_or_empty

TIME_SHARE = 0.5
"""The part of the time that is left which an analysis may take."""


_MAX_ITEMS = 3


_MAX_CHARS = 160


_MAX_TOKENS = 1536


def analysis_beside(task: Task, ballot: Ballot) -> tuple[AskJudge, ...]:
    """The analysis to ask for beside the decision, empty unless the preset wants it there. The decision waits for it
    only where the client asked for that."""
    preset = task.preset
    if preset.analysis != "beside":
        return ()
    request = analysis_request(task.request, ballot)
    beside = not preset.awaits_analysis
    return (AskJudge(preset.judges[0], request, TIME_SHARE, stage="analysis", beside=beside, ballot=ballot),)


async def analyse_before_decision(run: Run, task: Task, ballot: Ballot) -> Analysis | None:
    """Ask for the analysis of a preset that wants it before the decision, of one judge model after the other. None when
    the preset does not want it then; where every judge model fails, the analysis holds the last one's error."""
    if task.preset.analysis != "before":
        return None
    request = analysis_request(task.request, ballot)
    failed = Analysis(None)

    def asks_of(judge: str, share: float) -> list[AskJudge]:
        return [AskJudge(judge, request, TIME_SHARE * share, stage="analysis", ballot=ballot)]

    def read(judge: str, outcomes: Sequence[Outcome]) -> Analysis | Failure:
        nonlocal failed
        analysis = read_analysis(outcomes[0], ballot, judge)
        if analysis.error is None:
            return analysis
        failed = analysis
        return Failure(analysis.error, "no analysis can be read")

    return (await first_success(run, task.preset.judges, asks_of, read)).value or failed


def analysis_request(request: Request, ballot: Ballot) -> Request:
    """Build the request for an analysis of the ballot, at temperature 0 and with its JSON schema."""
    return Request(
        messages=analysis_messages(request, ballot),
        sampling=Sampling(temperature=0.0, max_tokens=_MAX_TOKENS),
        response_schema=_schema(ballot.labels),
    )


def read_analysis(outcome: Outcome, ballot: Ballot, judge: str) -> Analysis:
    """Read the analysis in a judge model's reply. Items of another shape are left out; where none is left, `error` says
    why."""
    if isinstance(outcome, Failure):
        return Analysis(judge, error=outcome.code)
    judge = outcome.answered_by or judge
    members = dict(zip(ballot.labels, (candidate.member for candidate in ballot.candidates), strict=True))
    for found in reversed(objects(outcome.text)):
        if set(found) & {"consensus", "contradictions", "partial_coverage", "unique_insights", "blind_spots"}:
            return Analysis(
                judge,
                _points(found.get("consensus"), members),
                _contradictions(found.get("contradictions"), members),
                _points(found.get("partial_coverage"), members),
                _points(found.get("unique_insights"), members),
                tuple(text for each in list_or_empty(found.get("blind_spots")) if (text := _text(each))),
            )
    return Analysis(judge, error="cut_off" if outcome.finish_reason == "length" else "invalid_analysis")


def analysis_notes(analysis: Analysis | None, ballot: Ballot) -> str | None:
    """Format an analysis for the judge model that writes, with labels for members; None when there is none."""
    if analysis is None or analysis.error is not None:
        return None
    labels = dict(zip((candidate.member for candidate in ballot.candidates), ballot.labels, strict=True))

    def lines(title: str, points: Sequence[Point]) -> list[str]:
        items = [f"- {point.text} ({', '.join(labels[member] for member in point.members)})" for point in points]
        return [f"{title}:", *items] if items else []

    return "\n".join(
        [
            *lines("They agree", analysis.consensus),
            *(line for each in analysis.contradictions for line in lines(f"They differ on {each.topic}", each.stances)),
            *lines("Some of them cover", analysis.partial_coverage),
            *lines("Only one found", analysis.unique_insights),
            *(["All of them miss:", *(f"- {spot}" for spot in analysis.blind_spots)] if analysis.blind_spots else []),
        ]
    )


def _schema(labels: Sequence[str]) -> JsonSchema:
    text = {"type": "string", "maxLength": _MAX_CHARS}
    answers = {"type": "array", "items": {"type": "string", "enum": list(labels)}, "maxItems": len(labels)}
    point = closed({"text": text, "answers": answers})
    points = {"type": "array", "items": point, "maxItems": _MAX_ITEMS}
    stances = {"type": "array", "items": point, "minItems": 2, "maxItems": _MAX_ITEMS}
    contradiction = closed({"topic": text, "stances": stances})
    return JsonSchema(
        "analysis",
        closed(
            {
                "consensus": points,
                "contradictions": {"type": "array", "items": contradiction, "maxItems": _MAX_ITEMS},
                "partial_coverage": points,
                "unique_insights": points,
                "blind_spots": {"type": "array", "items": text, "maxItems": _MAX_ITEMS},
            }
        ),
    )


def _points(found: object, members: Mapping[str, str]) -> tuple[Point, ...]:
    return tuple(point for each in list_or_empty(found) if (point := _point(each, members)))


def _point(found: object, members: Mapping[str, str]) -> Point | None:
    if not isinstance(found, dict):
        return Point(text, ()) if (text := _text(found)) else None
    item = cast("dict[str, Any]", found)
    names = [name for name in list_or_empty(item.get("answers")) if isinstance(name, str)]
    labels = [name.strip().upper().removeprefix("ANSWER ") for name in names]
    named = tuple(dict.fromkeys(members[label] for label in labels if label in members))
    text = _text(item.get("text"))
    return Point(text, named) if text else None


def _contradictions(found: object, members: Mapping[str, str]) -> tuple[Contradiction, ...]:
    items = [cast("dict[str, Any]", item) for item in list_or_empty(found) if isinstance(item, dict)]
    read = [Contradiction(_text(item.get("topic")), _points(item.get("stances"), members)) for item in items]
    return tuple(contradiction for contradiction in read if contradiction.topic and contradiction.stances)


def _text(found: object) -> str:
    """The text without lone surrogates, which JSON may hold and UTF-8 cannot encode."""
    return found.strip().encode("utf-8", "replace").decode() if isinstance(found, str) else ""
