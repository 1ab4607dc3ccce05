"""Judges recorded panels again, and compares the new decisions with the old ones."""

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

from cluster.recordings.folder import RecordingFolder, RecordingsError, Row, Wanted
from cluster.recordings.replay import NewJudge, Replayed, replay, why_not
from cluster.recordings.show import dollars, milliseconds
from deployments.recordings.arrow import pa, parquet
from fusion.errors import FusionError
from fusion.results import Verdict
from fusion.text.similarity import similarity

RESULT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One request's two decisions. Winners are None where a mode names none. `agrees` is None unless both did;
    `answer_similarity`, 0 to 1, compares the two answers. Latencies and costs are the judge models' alone, null when
    unknown. `error` says why there is no new decision."""

    request_id: str
    arrived_at: datetime
    preset: str
    old_mode: str
    mode: str
    old_judge: str | None
    judge: str
    old_winner: str | None
    winner: str | None
    agrees: bool | None
    answer_similarity: float | None
    old_judge_ms: float | None
    judge_ms: float | None
    old_judge_cost_usd: float | None
    judge_cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    scores: list[dict[str, Any]]
    reason: str | None
    content: str | None
    degraded: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The requests to judge again, and why others cannot be."""

    requests: int
    left_out: Counter[str]


def choose(folder: RecordingFolder, wanted: Wanted, limit: int | None) -> Chosen:
    """How many requests will be judged again.

    Raises:
        RecordingsError: none.
    """
    left_out: Counter[str] = Counter()
    usable = 0
    for row in folder.rows(wanted, ("request", "candidates.status", "candidates.round")):
        if reason := why_not(row):
            left_out[reason] += 1
        else:
            usable += 1
    if usable == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none is like that"
        needed = "; judging again needs what was asked and answered: record with content: full" if left_out else ""
        raise RecordingsError(f"no recorded request can be judged again ({reasons}){needed}")
    return Chosen(usable if limit is None else min(limit, usable), left_out)


async def rejudge(
    rows: Iterator[Row], judge: NewJudge, concurrency: int, limit: int, done: Callable[[], None]
) -> list[Rejudged]:
    """Judge the requests that can be judged again, so many at once; `done` is called after each."""
    usable = islice((row for row in rows if why_not(row) is None), limit)
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
    """Write a row a request, as Parquet: whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.tmp")
    parquet.write_table(pa.Table.from_pylist([asdict(result) for result in results], schema=_SCHEMA), unfinished)
    unfinished.rename(target)


def default_target(folder: Path, judge: str) -> Path:
    """Where results go if nothing else is said: beside the days' folders, where no pattern for records finds them."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in judge)
    return folder / "rejudged" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{name}.parquet"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The new decisions beside the old ones, all together. `wins` are by member, old and new; of the requests that both
    named a winner for, `agreed` are those for which it is the same one."""

    requests: int
    failed: Counter[str]
    compared: int
    agreed: int
    mean_answer_similarity: float | None
    wins: dict[str, tuple[int, int]]
    median_judge_ms: tuple[float | None, float | None]
    judge_cost_usd: tuple[float | None, float | None]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
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
    """What changes with the new judge."""
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
    """The comparison as it is shown in a terminal."""
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
    """The sum, None as soon as one is unknown, or when there is nothing."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None
