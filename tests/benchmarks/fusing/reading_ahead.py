"""Prefill overlap on a real engine: from the last candidate to the judge's first token, sent ahead and not.

SmolLM2-135M-Instruct on vLLM on the CPU, prefix caching on, judges a merge of three long candidates. Two are there at
once; the last comes when the engine has had the time to read them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fusion.chat import Delta, Usage
from fusion.limits.call_stats import CallStats
from fusion.member import Member
from fusion.presets import AgreementPolicy, Policy
from fusion.progress import CandidateEnded, Progress
from fusion.testing import Answer, ScriptedMember
from tests.benchmarks.fusing.figures import Figure, figure
from tests.benchmarks.fusing.panels import task_of, timed

LATE_S = 8.0
WORDS = ("river", "stone", "harvest", "candle", "window", "ladder", "engine", "copper", "valley", "thunder", "needle")
CANDIDATE_WORDS = 420
PANEL = ("ada", "bob", "cyd")


@dataclass
class Stopwatch:
    """When the last candidate was in, and when the judge's first token was."""

    watches_candidates: bool = False
    candidate_at: float = 0.0
    token_at: float | None = None
    told: list[str] = field(default_factory=list[str])

    def on_progress(self, event: Progress) -> None:
        if isinstance(event, CandidateEnded) and self.token_at is None:
            self.candidate_at = _now()

    def on_delta(self, delta: Delta) -> None:
        if self.token_at is None and delta.text:
            self.token_at = _now()
        self.told.append(delta.text)

    @property
    def first_token_ms(self) -> float:
        assert self.token_at is not None
        return (self.token_at - self.candidate_at) * 1e3


def text_of(seed: int) -> str:
    """Some five hundred tokens that no other seed gives."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(CANDIDATE_WORDS)) + "."


async def one(
    engine: Member, profiles: Mapping[str, Any], seed: int, *, ahead: bool, late_s: float = LATE_S
) -> tuple[float, Usage | None]:
    """Milliseconds to the judge's first token, and what sending ahead used. The last candidate comes after `late_s`."""
    members: dict[str, Member] = {
        name: ScriptedMember(Answer(text_of(1000 * seed + index)), delay_s=late_s if name == "cyd" else 0.01)
        for index, name in enumerate(PANEL)
    }
    watch = Stopwatch()
    task = task_of(
        f"Question {seed}: which of these words is the longest?",
        PANEL,
        profiles,
        seed,
        policy=Policy(quorum=2, straggler_grace=1e4, deadline_s=300, adaptive_grace=False),
        max_tokens=8,
        agreement=AgreementPolicy(short=False),
        prefill=ahead,
    )
    fused, _ = await timed(task, {**members, "judge": engine}, CallStats(), watcher=watch, prefilling={"judge": engine})
    assert [candidate.status for candidate in fused.candidates] == ["answered"] * 3
    spent = {stage.stage: stage.usage for stage in fused.stages}
    assert ("prefill" in spent) == ahead
    return watch.first_token_ms, spent.get("prefill")


async def reading_ahead(engine: Member, profiles: Mapping[str, Any], runs: int = 5) -> list[Figure]:
    """Alternately with and without, so that a busy machine slows both."""
    took_ms: dict[bool, list[float]] = {False: [], True: []}
    for run in range(runs):
        for ahead in took_ms:
            ms, _ = await one(engine, profiles, 2 * run + ahead + 1, ahead=ahead)
            took_ms[ahead].append(ms)
    made = figure("last candidate to the judge's first token", "ms", took_ms[False], took_ms[True], "", True)
    ratio = made.ratio or 0.0
    return [figure(made.name, made.unit, took_ms[False], took_ms[True], "at least twice as fast", ratio >= 2)]


def _now() -> float:
    return asyncio.get_running_loop().time()
