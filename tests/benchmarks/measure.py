"""One contender at one work, from its clients' side and from the machine's."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import Running
from tests.benchmarks.load import Spec
from tests.benchmarks.processes import Usage, usage_of
from tests.benchmarks.work import Work

_SAMPLE_EVERY_S = 0.25
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to; None where nothing was there to measure. `cpu_ms` is by kind of process and by right
    answer, `resident_mib_in_flight` by request in flight. `failed` counts what ended without an answer, `wrong` answers
    that are not the judge model's own."""

    right: int
    wrong: int
    failed: int
    failures: dict[str, int]
    per_s: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    added_p50_ms: float | None
    added_p99_ms: float | None
    first_token_p50_ms: float | None
    first_token_p99_ms: float | None
    chunks_per_s: float
    cpu_ms: dict[str, float]
    resident_mib: float
    resident_mib_in_flight: float


def measure(
    running: Running, model: str, work: Work, first_question: int = 1, watch: Callable[[Usage], None] | None = None
) -> Measured:
    """Put the work to a contender that runs. `watch` is shown what its processes use, several times a second."""
    spec = Spec(
        running.url, model, work.scenario, work.clients, work.for_s, work.stream, work.seen_at_least, first_question
    )
    before = usage_of(running.all)
    most_bytes = before.all_resident_bytes
    load = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.load"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    asked: str | None = json.dumps(asdict(spec))
    while True:
        try:
            said, _ = load.communicate(asked.encode() if asked else None, timeout=_SAMPLE_EVERY_S)
            break
        except subprocess.TimeoutExpired:
            asked = None
            usage = usage_of(running.all)
            most_bytes = max(most_bytes, usage.all_resident_bytes)
            if watch is not None:
                watch(usage)
    if load.returncode:
        raise RuntimeError(f"the load generator failed with status {load.returncode}")
    after = usage_of(running.all)
    seen: dict[str, Any] = json.loads(said)
    right = len(seen["latency_ms"])
    grown_mib = (max(most_bytes, after.all_resident_bytes) - before.all_resident_bytes) / 2**20
    used_ms = after.cpu_ms_since(before)
    return Measured(
        right=right,
        wrong=seen["wrong"],
        failed=sum(seen["failures"].values()),
        failures=seen["failures"],
        per_s=right / seen["took_s"],
        latency_p50_ms=_quantile(seen["latency_ms"], 50),
        latency_p99_ms=_quantile(seen["latency_ms"], 99),
        added_p50_ms=_quantile(seen["added_ms"], 50),
        added_p99_ms=_quantile(seen["added_ms"], 99),
        first_token_p50_ms=_quantile(seen["first_ms"], 50),
        first_token_p99_ms=_quantile(seen["first_ms"], 99),
        chunks_per_s=seen["chunks"] / seen["took_s"],
        cpu_ms={kind: spent_ms / max(1, right) for kind, spent_ms in used_ms.items()},
        resident_mib=before.all_resident_bytes / 2**20,
        resident_mib_in_flight=grown_mib / work.clients,
    )


def _quantile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
