"""The judge model's verdict: the JSON schema it is asked to follow, and a parser for what it writes all the same."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from fusion.errors import InvalidVerdict
from fusion.values import JsonSchema

MAX_SCORE = 10
MAX_REASON_CHARS = 200
_MAX_TEXT_CHARS = 20_000
_MAX_OBJECTS = 32

_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*")


def verdict_schema(labels: Sequence[str]) -> JsonSchema:
    """`{"reason": str, "scores": {LABEL: 0..10, …}}`, every field required and no others allowed.

    The reason comes first, so that the scores follow from it.
    """
    score = {"type": "integer", "minimum": 0, "maximum": MAX_SCORE}
    scores = {
        "type": "object",
        "properties": {label: score for label in labels},
        "required": list(labels),
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string", "maxLength": MAX_REASON_CHARS}, "scores": scores},
        "required": ["reason", "scores"],
        "additionalProperties": False,
    }
    return JsonSchema("verdict", schema, strict=True)


def parse_verdict(text: str, labels: Sequence[str]) -> tuple[dict[str, float | None], str]:
    """The scores by label, None where one is missing, and the reason, read from whatever the judge model wrote.

    Takes JSON as asked for, JSON inside prose or a code fence, scores as text (`"8/10"`) or as a list of objects, a
    bare `winner`, and lines such as `A: 8`. Of several verdicts in one text the last counts: models think aloud first.
    Scores outside of 0 to 10 are moved to the nearer end; labels that were not asked about are dropped.

    Raises:
        InvalidVerdict: no label has a score and no winner is named.
    """
    text = text[-_MAX_TEXT_CHARS:]
    for found in reversed(list(_objects(text))):
        scores = _scores(found, labels)
        if scores:
            reason = found.get("reason")
            return {label: scores.get(label) for label in labels}, reason if isinstance(reason, str) else ""
    scores = _scores_by_line(text, labels)
    if scores:
        return {label: scores.get(label) for label in labels}, ""
    raise InvalidVerdict("the judge model's reply holds no score for any candidate and names no winner")


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    position = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if position < 0:
            return
        try:
            found, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            if isinstance(found, dict):
                yield cast("dict[str, Any]", found)
        position = text.find("{", end)


def _scores(found: Mapping[str, Any], labels: Sequence[str]) -> dict[str, float]:
    given: Any = found.get("scores", found)
    if isinstance(given, list):
        entries = [cast("dict[str, Any]", entry) for entry in cast("list[Any]", given) if isinstance(entry, dict)]
        pairs = [(entry.get("label", entry.get("candidate")), entry.get("score")) for entry in entries]
    elif isinstance(given, dict):
        pairs = list(cast("dict[Any, Any]", given).items())
    else:
        pairs = []
    scores = {_label(label): score for label, value in pairs if (score := _score(value)) is not None}
    known = {label: scores[label] for label in labels if label in scores}
    winner = _label(found.get("winner"))
    if not known and winner in labels:
        return {winner: float(MAX_SCORE)}
    return known


def _label(value: object) -> str:
    return value.strip().upper().removeprefix("ANSWER").strip() if isinstance(value, str) else ""


def _score(value: Any) -> float | None:
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("score")
    if isinstance(value, str) and (match := _NUMBER.fullmatch(value)):
        value = float(match[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(min(max(value, 0), MAX_SCORE))


def _scores_by_line(text: str, labels: Sequence[str]) -> dict[str, float]:
    pattern = re.compile(rf"^\W*(?:answer\s+)?({'|'.join(map(re.escape, labels))})\W*[:=]\W*(\d+(?:\.\d+)?)", re.I | re.M)
    return {label.upper(): min(float(score), float(MAX_SCORE)) for label, score in pattern.findall(text)}
