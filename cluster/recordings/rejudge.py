"""Judges recorded panels again, and compares the new decisions with the recorded ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from cluster.recordings.filter import RecordingFilter
from cluster.recordings.folder import RecordingFolder, RecordingsError, Row
from cluster.recordings.replay import NewJudge, Replayed, ineligible_reason, replay
from cluster.recordings.show import dollars, milliseconds
from deployments.recordings.arrow import pa, parquet
from fusion.errors import FusionError
from fusion.results import Verdict
from fusion.text.similarity import similarity

RESULT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One request's recorded decision and its new one."""

    request_id: str
    arrived_at: datetime
    preset: str
    old_mode: str
    mode: str
    old_judge: str | None
    judge: str
    old_winner: str | None
    """None where the recorded mode names no winner."""
    winner: str | None
    """None where the new mode names no winner."""
    agrees: bool | None
    """Whether both winners are the same. None unless there are two."""
    answer_similarity: float | None
    """How alike the two answers are, 0 to 1. None unless both are known."""
    old_judge_ms: float | None
    """How long the recorded judge models took."""
    judge_ms: float | None
    """How long the new judge model took."""
    old_judge_cost_usd: float | None
    """The cost of the recorded judge calls alone. None when unknown."""
    judge_cost_usd: float | None
    """The cost of the new judge calls alone. None when unknown."""
    input_tokens: int | None
    """Tokens that the new judge model read."""
    output_tokens: int | None
    """Tokens that the new judge model wrote."""
    scores: list[dict[str, Any]]
    """The new verdict's scores: `member` and `score`."""
    reason: str | None
    """The new verdict's reason."""
    content: str | None
    """The new answer."""
    degraded: str | None
    """Why the new answer is degraded."""
    error: str | None
    """Why there is no new decision. None when there is one."""


@dataclass(frozen=True, slots=True)
class Eligible:
    """How many requests will be judged again, and how many were left out for each reason."""

    requests: int
    left_out: Counter[str]


def count_eligible(folder: RecordingFolder, selected: RecordingFilter, limit: int | None) -> Eligible:
    """Count the selected recordings that can be judged again, `limit` at most.

    Raises:
        RecordingsError: there is none.
    """
    left_out: Counter[str] = Counter()
    usable = 0
    for row in folder.rows(selected, ("request", "candidates.status", "candidates.round")):
        if reason := ineligible_reason(row):
            left_out[reason] += 1
        else:
            usable += 1
    if usable == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none matches"
        needed = "; judging again needs prompts and answers: record with content: full" if left_out else ""
        raise RecordingsError(f"no recorded request can be judged again ({reasons}){needed}")
    return Eligible(usable if limit is None else min(limit, usable), left_out)


async def rejudge(
    rows: Iterator[Row], judge: NewJudge, concurrency: int, limit: int, done: Callable[[], None]
) -> list[Rejudged]:
    """Judge up to `limit` requests again, `concurrency` at once. Results are in the order of arrival. Calls `done`
    after each."""
    usable = islice((row for row in rows if ineligible_reason(row) is None), limit)
    results: list[Rejudged] = []

    async def work() -> None:
        for row in usable:
            results.append(await _rejudged(row, judge))
            done()

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return sorted(results, key=lambda result: (result.arrived_at, result.request_id))


async def _rejudged(row: Row, judge: NewJudge) -> Rejudged:
    replayed: Replayed | None = None
    error: str | None = None
    try:
        replayed = await replay(row, judge)
    except FusionError as failure:
        error = failure.code
    fused = replayed.fused if replayed else None
    calls = replayed.judge_calls if replayed else ()
    decided = fused is not None and fused.judge is not None
    if fused is not None and not decided:
        error = fused.degraded
    verdict = fused.verdict if fused else None
    content = fused.completion.text if fused and decided else None
    usages = [call.outcome.usage for call in calls if call.outcome.usage is not None]
    return Rejudged(
        request_id=row["request_id"],
        arrived_at=row["arrived_at"],
        preset=row["preset"],
        old_mode=row["mode"],
        mode=judge.mode or row["mode"],
        old_judge=row["judge"],
        judge=judge.profile.name,
        old_winner=row["winner"],
        winner=verdict.winner if verdict else None,
        agrees=verdict.winner == row["winner"] if verdict and row["winner"] else None,
        answer_similarity=similarity(content, row["content"]) if content and row["content"] else None,
        old_judge_ms=row["judge_ms"],
        judge_ms=fused.timings.judge_ms if fused else None,
        old_judge_cost_usd=_sum(call["cost_usd"] for call in row["judge_calls"] or ()),
        judge_cost_usd=_sum(call.cost_usd for call in calls),
        input_tokens=sum(usage.input_tokens for usage in usages) if usages else None,
        output_tokens=sum(usage.output_tokens for usage in usages) if usages else None,
        scores=_scores(verdict),
        reason=verdict.reason if verdict else None,
        content=content,
        degraded=fused.degraded if fused else None,
        error=error,
    )


_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("request_id",)),
        ("arrived_at", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("preset", "old_mode", "mode", "old_judge", "judge", "old_winner", "winner")),
        ("agrees", pa.bool_()),
        *((name, pa.float64()) for name in ("answer_similarity", "old_judge_ms", "judge_ms")),
        *((name, pa.float64()) for name in ("old_judge_cost_usd", "judge_cost_usd")),
        *((name, pa.int64()) for name in ("input_tokens", "output_tokens")),
        ("scores", pa.list_(pa.struct([("member", pa.string()), ("score", pa.float64())]))),
        *((name, pa.string()) for name in ("reason", "content", "degraded", "error")),
    ],
    metadata={"schema_version": str(RESULT_VERSION), "kind": "rejudged"},
)


def write_results(results: Sequence[Rejudged], target: Path) -> None:
    """Write one row for each request as Parquet. The file appears under its name once it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.tmp")
    parquet.write_table(pa.Table.from_pylist([asdict(result) for result in results], schema=_SCHEMA), unfinished)
    unfinished.rename(target)


def default_target(folder: Path, judge: str) -> Path:
    """The default file for results: beside the days' folders, where patterns for recordings do not match."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in judge)
    return folder / "rejudged" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{name}.parquet"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The new decisions of all requests beside the recorded ones."""

    requests: int
    failed: Counter[str]
    """Requests without a new decision, by reason."""
    compared: int
    """Requests for which both decisions name a winner."""
    agreed: int
    """Of those compared, the requests with the same winner."""
    mean_answer_similarity: float | None
    """0 to 1. None where no two answers are known."""
    wins: dict[str, tuple[int, int]]
    """Wins by member, recorded and new."""
    median_judge_ms: tuple[float | None, float | None]
    """Recorded and new."""
    judge_cost_usd: tuple[float | None, float | None]
    """Recorded and new."""

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain values for JSON."""
        old_and_new = ("old", "new")
        return {
            "requests": self.requests,
            "failed": dict(self.failed),
            "compared": self.compared,
            "agreed": self.agreed,
            "agreement": self.agreed / self.compared if self.compared else None,
            "mean_answer_similarity": self.mean_answer_similarity,
            "wins": {member: dict(zip(old_and_new, wins, strict=True)) for member, wins in self.wins.items()},
            "median_judge_ms": dict(zip(old_and_new, self.median_judge_ms, strict=True)),
            "judge_cost_usd": dict(zip(old_and_new, self.judge_cost_usd, strict=True)),
        }


def compare(results: Sequence[Rejudged]) -> Comparison:
    """Compare the new decisions with the recorded ones."""
    failed = Counter(result.error for result in results if result.error is not None)
    judged = [result for result in results if result.error is None]
    similarities = [each.answer_similarity for each in judged if each.answer_similarity is not None]
    old_wins = Counter(result.old_winner for result in results if result.old_winner)
    new_wins = Counter(result.winner for result in judged if result.winner)
    members = sorted({*old_wins, *new_wins}, key=lambda member: (-new_wins[member], -old_wins[member], member))
    return Comparison(
        requests=len(results),
        failed=failed,
        compared=sum(result.agrees is not None for result in judged),
        agreed=sum(result.agrees is True for result in judged),
        mean_answer_similarity=sum(similarities) / len(similarities) if similarities else None,
        wins={member: (old_wins[member], new_wins[member]) for member in members},
        median_judge_ms=(_median(r.old_judge_ms for r in results), _median(r.judge_ms for r in judged)),
        judge_cost_usd=(_sum(r.old_judge_cost_usd for r in results), _sum(r.judge_cost_usd for r in judged)),
    )


def comparison_tables(found: Comparison) -> RenderableType:
    """Format the comparison for a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("recorded", justify="right")
    table.add_column("now", justify="right")
    for member, (old, new) in found.wins.items():
        table.add_row(f"wins of {member}", str(old), str(new))
    table.add_row("judge, median", *map(milliseconds, found.median_judge_ms))
    table.add_row("judge, cost", *map(dollars, found.judge_cost_usd))
    lines: list[str] = []
    if found.compared:
        share = found.agreed / found.compared
        lines.append(f"the same winner in {found.agreed} of {found.compared} verdicts ({share:.0%})")
    if found.mean_answer_similarity is not None:
        lines.append(f"the answers' similarity is {found.mean_answer_similarity:.2f} on average, 1 being equal")
    for reason, count in found.failed.most_common():
        lines.append(f"no decision for {count}: {reason}")
    return Group(table, *lines)


def _scores(verdict: Verdict | None) -> list[dict[str, Any]]:
    return [{"member": member, "score": score} for member, score in verdict.scores.items()] if verdict else []


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum. None if a value is unknown, or if there are none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None
