"""The judge model's verdict: the JSON schema it is asked to follow, and a parser for what it writes all the same."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from fusion.chat import JsonSchema
from fusion.errors import InvalidVerdict
from fusion.presets import Criterion, weighted

MAX_SCORE = 10


MAX_REASON_CHARS = 200


_MAX_TEXT_CHARS = 20_000


_MAX_BRACES = 256


_NUMBER = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)(?:\s{0,4}/\s{0,4}10)?")


_OPENING = re.compile(r"\s*(?:```\w*\s*)?(?=\{)")


Scores = dict[str, float]


class Ruling(NamedTuple):
    """What a judge model wrote, by label: the scores, None where one is missing; the reason; and the scores by
    criterion, where a rubric was asked for."""

    scores: dict[str, float | None]
    reason: str
    criteria: dict[str, dict[str, float | None]]


def verdict_schema(labels: Sequence[str], rubric: Sequence[Criterion] = ()) -> JsonSchema:
    """`{"reason": str, "scores": {LABEL: 0..10, …}}`, every field required and no others allowed. With a rubric each
    label has an object of criteria in place of the score.

    The reason comes first, so that the scores follow from it. Not marked as strict: some APIs then refuse the bounds,
    which an engine needs to come to an end.
    """
    score: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_SCORE}
    if rubric:
        score = closed(dict.fromkeys((criterion.name for criterion in rubric), score))
    reason = {"type": "string", "maxLength": MAX_REASON_CHARS}
    return JsonSchema("verdict", closed({"reason": reason, "scores": closed(dict.fromkeys(labels, score))}))


def parse_verdict(text: str, labels: Sequence[str], rubric: Sequence[Criterion] = ()) -> Ruling:
    """The scores by label and the reason, read from whatever the judge model wrote.

    Takes, in this order: JSON as asked for, alone or inside prose or a code fence, its scores also as text (`"8/10"`)
    or as a list of objects, or a `winner` in their place; a bare JSON object of scores; and lines such as `A: 8`. The
    last two must score every label, for they could as well be something quoted, or the beginning of a verdict that
    was cut off. Of several verdicts of one form the last counts, for models think aloud first; but a reply that
    begins with its verdict has given it, whatever it quotes after. Scores outside of 0 to 10 are moved to the nearer
    end; labels that were not asked about are dropped. With a rubric a score may be an object of criteria, and is then
    their weighted mean. Only the last 20,000 characters are read.

    Raises:
        InvalidVerdict: no label has a score and no winner is named.
    """
    text = text[-_MAX_TEXT_CHARS:]
    opening = _object_at(text, match.end()) if (match := _OPENING.match(text)) else None
    found = [*([opening] if opening is not None else []), *reversed(objects(text))]
    readers: tuple[Callable[[Mapping[str, Any], Sequence[str], Sequence[Criterion]], Scores], ...] = (_asked_for, _bare)
    for read in readers:
        for verdict in found:
            if scores := read(verdict, labels, rubric):
                by_criterion = _by_criterion(verdict, labels, rubric)
                return Ruling({label: scores.get(label) for label in labels}, _reason(verdict), by_criterion)
    if scores := _scores_by_line(text, labels):
        return Ruling({label: scores[label] for label in labels}, "", {})
    raise InvalidVerdict("the judge model's reply holds no score for any candidate and names no winner")


def objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in the text, without those inside of others."""
    objects: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    inside_until = 0
    for brace in [match.start() for match in re.finditer(r"\{", text)][-_MAX_BRACES:]:
        if brace < inside_until:
            continue
        try:
            found, inside_until = decoder.raw_decode(text, brace)
        except (ValueError, RecursionError):
            continue
        objects.append(found)
    return objects


def _object_at(text: str, position: int) -> dict[str, Any] | None:
    try:
        return json.JSONDecoder().raw_decode(text, position)[0]
    except (ValueError, RecursionError):
        return None


def closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with all of these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _given(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a verdict has for each label."""
    given: Any = found.get("scores")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(given, list):
        entries = [cast("dict[str, Any]", entry) for entry in cast("list[Any]", given) if isinstance(entry, dict)]
        pairs = [(entry.get("label", entry.get("candidate")), entry.get("score", entry)) for entry in entries]
    elif isinstance(given, dict):
        pairs = list(cast("dict[Any, Any]", given).items())
    return {_label(label): value for label, value in pairs}


def _asked_for(found: Mapping[str, Any], labels: Sequence[str], rubric: Sequence[Criterion]) -> Scores:
    scores = {label: score for label, value in _given(found).items() if (score := _score(value, rubric)) is not None}
    known = {label: scores[label] for label in labels if label in scores}
    winner = _label(found.get("winner"))
    return {winner: float(MAX_SCORE)} if not known and winner in labels else known


def _by_criterion(
    found: Mapping[str, Any], labels: Sequence[str], rubric: Sequence[Criterion]
) -> dict[str, dict[str, float | None]]:
    given = _given(found) or {_label(label): value for label, value in found.items()}
    return {label: _criteria(given.get(label), rubric) for label in labels} if rubric else {}


def _criteria(value: Any, rubric: Sequence[Criterion]) -> dict[str, float | None]:
    given = cast("dict[Any, Any]", value) if isinstance(value, dict) else {}
    by_name = {name.strip().casefold(): each for name, each in given.items() if isinstance(name, str)}
    return {criterion.name: _score(by_name.get(criterion.name.casefold())) for criterion in rubric}


def _bare(found: Mapping[str, Any], labels: Sequence[str], rubric: Sequence[Criterion]) -> Scores:
    scores = {label: score for label in labels if (score := _score(found.get(label), rubric)) is not None}
    return scores if len(scores) == len(labels) else {}


def _label(value: object) -> str:
    return value.strip().upper().removeprefix("ANSWER").strip() if isinstance(value, str) else ""


def _score(value: Any, rubric: Sequence[Criterion] = ()) -> float | None:
    if isinstance(value, dict) and (score := weighted(_criteria(value, rubric), rubric)) is not None:
        return score
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("score")
    if isinstance(value, str) and (match := _NUMBER.fullmatch(value.strip())):
        value = float(match[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
        return None
    return float(min(max(value, 0), MAX_SCORE))


def _reason(found: Mapping[str, Any]) -> str:
    """The reason, without what cannot be written as UTF-8: JSON may hold halves of characters."""
    reason = found.get("reason")
    return reason.encode("utf-8", "replace").decode() if isinstance(reason, str) else ""


def _scores_by_line(text: str, labels: Sequence[str]) -> Scores:
    """Scores from lines that each hold a label, a number and nothing that would make the number something else. A line
    of an answer, with its mark, is none of them.

    Every repetition in the pattern is bounded, so that no text takes it more than linear time.
    """
    names = "|".join(map(re.escape, labels))
    line = re.compile(
        rf"^[^\w\n|]{{0,8}}(?:answer[ \t]{{1,4}})?({names})[^\w\n:=]{{0,4}}[:=][ \t*_]{{0,8}}"
        r"(-?\d{1,9}(?:\.\d{1,9})?)[ \t*_]{0,8}(?:/[ \t]{0,4}10(?!\d)|$|(?![.,]\d)[.,;:(|\u2013\u2014-])",
        re.I | re.M,
    )
    scores = {label.upper(): min(max(float(score), 0.0), float(MAX_SCORE)) for label, score in line.findall(text)}
    return scores if len(scores) == len(labels) else {}
