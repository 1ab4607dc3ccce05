"""Gathers the figures of a report from recordings, in one pass."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from statistics import fmean
from typing import Any

from cluster.recordings.folder import Row
from fusion.text.similarity import similarity

COLUMNS = (
    "request_id",
    "mode",
    "degraded",
    "error_code",
    "winner",
    "total_ms",
    "panel_ms",
    "judge_ms",
    "queued_ms",
    "overhead_vs_slowest_member",
    "cost_usd",
    "candidates.member",
    "candidates.round",
    "candidates.status",
    "candidates.latency_ms",
    "candidates.input_tokens",
    "candidates.output_tokens",
    "candidates.cost_usd",
    "candidates.error_code",
    "candidates.content",
    "candidates.content_hash",
    "stages",
)
"""The columns that a report reads."""


MAX_COMPARED = 2000
"""How many requests have their candidates compared with each other. Of more, a random sample is compared."""


Candidate = dict[str, Any]


@dataclass(slots=True)
class MemberFigures:
    """The figures of one member."""

    statuses: Counter[str] = field(default_factory=Counter[str])
    """Candidates by status."""
    errors: Counter[str] = field(default_factory=Counter[str])
    """Failed candidates by error code."""
    latencies_ms: list[float] = field(default_factory=list[float])
    """Latencies of candidates that were answered."""
    tokens: int = 0
    """Input and output tokens of all candidates."""
    cost_usd: float = 0.0
    """The known cost of all candidates."""
    unpriced: int = 0
    """Answered candidates of unknown cost."""
    judged: int = 0
    """Verdicts about a candidate of this member."""
    wins: int = 0
    """Verdicts that it won."""


@dataclass(slots=True)
class Figures:
    """The figures of a report."""

    requests: int = 0
    first: datetime | None = None
    """The earliest arrival."""
    last: datetime | None = None
    """The latest arrival."""
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """Requests by outcome; `degraded` is one of its own."""
    by_day: dict[datetime, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Requests by day and outcome."""
    total_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Latencies of answered requests by preset."""
    spent_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Time of answered requests by stage."""
    slowest_ms: list[float] = field(default_factory=list[float])
    """Each answered request's slowest candidate."""
    overheads: list[float] = field(default_factory=list[float])
    """Time beyond the slowest candidate, as a fraction of its time."""
    cost_by_day: dict[datetime, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Known cost in US dollars by day and stage."""
    cost_usd: float = 0.0
    """The known cost of all requests."""
    unpriced: int = 0
    """Requests of unknown cost."""
    degradations: Counter[str] = field(default_factory=Counter[str])
    """Degraded requests by kind."""
    errors: Counter[str] = field(default_factory=Counter[str])
    """Failed requests by error code."""
    members: dict[str, MemberFigures] = field(default_factory=lambda: defaultdict(MemberFigures))
    agreements: list[float] = field(default_factory=list[float])
    """How alike the answers of each compared panel are, 0 to 1."""
    compared_by: str | None = None
    """What answers were compared by: `text` or `hash`. None where no content was recorded."""


def gather(rows: Iterable[Row]) -> Figures:
    """Gather the figures of these recordings. Unknown costs are counted, not estimated."""
    figures = Figures()
    panels: list[list[Candidate]] = []
    draw = random.Random(0)
    for row in rows:
        _count(figures, row)
        answers = _latest_answers(row["candidates"] or ())
        if len(answers) > 1 and any(each["content"] or each["content_hash"] for each in answers):
            if len(panels) < MAX_COMPARED:
                panels.append(answers)
            elif (place := draw.randrange(figures.requests)) < MAX_COMPARED:
                panels[place] = answers
    figures.agreements = [_agreement(panel) for panel in panels]
    if panels:
        figures.compared_by = "text" if panels[0][0]["content"] is not None else "hash"
    return figures


def _count(figures: Figures, row: Row) -> None:
    arrived: datetime = row["arrived_at"]
    figures.requests += 1
    figures.first = min(figures.first or arrived, arrived)
    figures.last = max(figures.last or arrived, arrived)
    day = arrived.replace(hour=0, minute=0, second=0, microsecond=0)
    outcome = "degraded" if row["outcome"] == "answered" and row["degraded"] else row["outcome"]
    figures.outcomes[outcome] += 1
    figures.by_day[day][outcome] += 1
    if row["degraded"]:
        figures.degradations[row["degraded"].partition(":")[0]] += 1
    if row["error_code"]:
        figures.errors[row["error_code"]] += 1
    candidates: Sequence[Candidate] = row["candidates"] or ()
    if row["outcome"] == "answered":
        _count_times(figures, row, candidates)
    if row["cost_usd"] is None:
        figures.unpriced += 1
    else:
        figures.cost_usd += row["cost_usd"]
    for stage in row["stages"] or ():
        if stage["cost_usd"]:
            figures.cost_by_day[day][stage["stage"]] += stage["cost_usd"]
    for candidate in candidates:
        _count_candidate(figures.members[candidate["member"]], candidate)
    if row["winner"]:
        figures.members[row["winner"]].wins += 1
        for member in {each["member"] for each in candidates if each["status"] == "answered"}:
            figures.members[member].judged += 1


def _count_times(figures: Figures, row: Row, candidates: Sequence[Candidate]) -> None:
    figures.total_ms[row["preset"]].append(row["total_ms"])
    known = {"waiting": row["queued_ms"], "panel": row["panel_ms"], "judge": row["judge_ms"] or 0.0}
    for stage, spent in known.items():
        figures.spent_ms[stage].append(spent or 0.0)
    figures.spent_ms["rest"].append(max(0.0, row["total_ms"] - sum(spent or 0.0 for spent in known.values())))
    answered = [each["latency_ms"] for each in candidates if each["status"] == "answered"]
    if answered:
        figures.slowest_ms.append(max(answered))
    if row["overhead_vs_slowest_member"] is not None:
        figures.overheads.append(row["overhead_vs_slowest_member"])


def _count_candidate(member: MemberFigures, candidate: Candidate) -> None:
    member.statuses[candidate["status"]] += 1
    if candidate["error_code"]:
        member.errors[candidate["error_code"]] += 1
    if candidate["status"] == "answered":
        member.latencies_ms.append(candidate["latency_ms"])
        if candidate["cost_usd"] is None:
            member.unpriced += 1
    member.tokens += (candidate["input_tokens"] or 0) + (candidate["output_tokens"] or 0)
    member.cost_usd += candidate["cost_usd"] or 0.0


def _latest_answers(candidates: Sequence[Candidate]) -> list[Candidate]:
    latest = {each["member"]: each for each in candidates if each["status"] == "answered"}  # rounds are in order
    return list(latest.values())


def _agreement(panel: Sequence[Candidate]) -> float:
    """How alike a panel's answers are: the mean over all pairs, 0 to 1. Of hashes only equality is known."""
    pairs = list(combinations(panel, 2))
    if panel[0]["content"] is None:
        return fmean(float(one["content_hash"] == other["content_hash"]) for one, other in pairs)
    return fmean(similarity(one["content"], other["content"]) for one, other in pairs)


def days_between(first: datetime, last: datetime) -> list[datetime]:
    """Every day from the first to the last, including days without requests."""
    begin = first.replace(hour=0, minute=0, second=0, microsecond=0)
    return [begin + timedelta(days=number) for number in range((last - begin).days + 1)]
