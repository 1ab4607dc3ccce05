"""Asking a judge model where the candidates agree and differ, and reading what it says."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, cast

from fusion.ballot import Ballot
from fusion.chat import JsonSchema, Request, Sampling
from fusion.errors import MemberError
from fusion.judging.prompts import analysis_messages
from fusion.judging.verdict import closed, objects
from fusion.presets import Task
from fusion.results import Analysis, Contradiction, Point
from fusion.steps import AskJudge, Outcome, Reply, Step, ask_judges

STAGE = "analysis"


SHARE = 0.5
"""The share of the time that is left which an analysis has at most."""


_MAX_ITEMS = 3


_MAX_CHARS = 160


_MAX_TOKENS = 1536


def analysis_asks(task: Task, ballot: Ballot) -> tuple[AskJudge, ...]:
    """The call to make beside the decision, if one is wanted there. It is waited for only where the client asked for
    it."""
    preset = task.preset
    if preset.analysis != "beside":
        return ()
    request = analysis_request(task.request, ballot)
    aside = not preset.awaits_analysis
    return (AskJudge(preset.judges[0], request, SHARE, stage=STAGE, beside=aside, ballot=ballot),)


def analysed_before(task: Task, ballot: Ballot) -> Generator[Step, Reply, Analysis | None]:
    """The analysis of a preset that wants it before the decision, by the first judge model that gives one; None when it
    is not wanted then."""
    if task.preset.analysis != "before":
        return None
    request = analysis_request(task.request, ballot)
    analysis = Analysis(None)
    for judge, share in task.preset.judge_shares():
        [outcome] = yield from ask_judges([AskJudge(judge, request, SHARE * share, stage=STAGE, ballot=ballot)])
        analysis = read_analysis(outcome, ballot, judge)
        if analysis.error is None:
            break
    return analysis


def analysis_request(request: Request, ballot: Ballot) -> Request:
    """Asks a judge model for the analysis of the ballot, at temperature 0 and held to its JSON schema."""
    return Request(
        messages=analysis_messages(request, ballot),
        sampling=Sampling(temperature=0.0, max_tokens=_MAX_TOKENS),
        response_schema=_schema(ballot.labels),
    )


def read_analysis(outcome: Outcome, ballot: Ballot, judge: str) -> Analysis:
    """The analysis in a judge model's words. What is not in its shape is left out; where nothing is, `error` says
    why."""
    if isinstance(outcome, MemberError):
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
                tuple(text for each in _list(found.get("blind_spots")) if (text := _text(each))),
            )
    return Analysis(judge, error="cut_off" if outcome.finish_reason == "length" else "invalid_analysis")


def noted(analysis: Analysis | None, ballot: Ballot) -> str | None:
    """An analysis as the judge model that writes is shown it, members by their labels; None when there is none."""
    if analysis is None or analysis.error is not None:
        return None
    labels = dict(zip((candidate.member for candidate in ballot.candidates), ballot.labels, strict=True))

    def lines(title: str, points: Sequence[Point]) -> list[str]:
        said = [f"- {point.text} ({', '.join(labels[member] for member in point.members)})" for point in points]
        return [f"{title}:", *said] if said else []

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
    return tuple(point for each in _list(found) if (point := _point(each, members)))


def _point(found: object, members: Mapping[str, str]) -> Point | None:
    if not isinstance(found, dict):
        return Point(text, ()) if (text := _text(found)) else None
    said = cast("dict[str, Any]", found)
    named = [each for each in _list(said.get("answers")) if isinstance(each, str)]
    labels = [each.strip().upper().removeprefix("ANSWER ") for each in named]
    by = tuple(dict.fromkeys(members[label] for label in labels if label in members))
    text = _text(said.get("text"))
    return Point(text, by) if text else None


def _contradictions(found: object, members: Mapping[str, str]) -> tuple[Contradiction, ...]:
    given = [cast("dict[str, Any]", each) for each in _list(found) if isinstance(each, dict)]
    read = [Contradiction(_text(each.get("topic")), _points(each.get("stances"), members)) for each in given]
    return tuple(each for each in read if each.topic and each.stances)


def _list(found: object) -> list[object]:
    return cast("list[object]", found) if isinstance(found, list) else []


def _text(found: object) -> str:
    """A text without what cannot be written as UTF-8: JSON may hold halves of characters."""
    return found.strip().encode("utf-8", "replace").decode() if isinstance(found, str) else ""
