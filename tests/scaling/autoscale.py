"""`make autoscale`: replicas follow the load up and down, and what is too much is refused.

    python -m tests.scaling.autoscale [--out FOLDER] [--quick]

Closed-loop clients, from one to 200 and back, and 400 in between, which is more than the replicas at most take. Two
of three candidates say the same after two seconds, so that is how long a fused request takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.scaling.load import OK, REFUSED, Load, Outcome, counted, quantile
from tests.scaling.machine import machine
from tests.scaling.service import KEY, Service, State, ongoing, serving, wait_until_whole

BODY: dict[str, Any] = {"model": "fusion/merge", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
TARGET, MAX_ONGOING, MAX_QUEUED, MAX_REPLICAS = 40, 40, 20, 5
PANEL_MS, JUDGE_MS = (1500, 2000, 2500), 1500
OVERLOAD = 400
STEPS = ((1, 10), (50, 20), (100, 20), (200, 30), (OVERLOAD, 25), (100, 15), (1, 110))
"""Clients, and for how many seconds."""
QUICK = ((1, 3), (50, 20), (1, 1))
"""No more than one replica takes, running and waiting, so that none is refused until the next one is there."""
_SAMPLE_S = 0.5
_WINDOW_S = 4.0  # of the quantiles over time


@dataclass(frozen=True, slots=True)
class Sample:
    """The service at one time, in seconds from the beginning: requests under way, those that wait for their turn in a
    judge replica, judge replicas that run and are aimed at, and replicas of all members."""

    at_s: float
    clients: int
    in_flight: int
    queued: int
    running: int
    aimed_at: int
    members: int


@dataclass(frozen=True, slots=True)
class Step:
    """One number of clients: how long until as many judge replicas were aimed at as it needs, and until they ran, None
    where it needs no more than there were; and what became of the requests that began in it."""

    clients: int
    wanted: int
    decided_s: float | None
    followed_s: float | None
    outcomes: dict[str, int]
    p50_s: float | None
    p99_s: float | None
    slowest_refusal_s: float | None


async def measure(
    service: Service, steps: Sequence[tuple[int, float]], report: Callable[[str], None]
) -> tuple[list[Sample], list[Step], list[Outcome]]:
    """Go through the steps."""
    samples: list[Sample] = []
    results: list[Step] = []
    async with Load(service.url, BODY, KEY) as load:
        began_at = time.monotonic()
        clients = 0

        async def watch() -> None:
            while True:
                samples.append(await asyncio.to_thread(_sample, service, load, clients, began_at))
                await asyncio.sleep(_SAMPLE_S)

        watching = asyncio.create_task(watch())
        bounds: list[tuple[int, float, float]] = []
        for clients, for_s in steps:
            report(f"{clients} clients for {for_s} s")
            starts_at = time.monotonic()
            changing = asyncio.create_task(load.clients(clients))
            await asyncio.sleep(for_s)
            await changing
            bounds.append((clients, starts_at, time.monotonic()))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    for clients, starts_at, ends_at in bounds:
        results.append(_step(clients, starts_at, ends_at, began_at, samples, load.outcomes))
    moved = [Outcome(each.began_at - began_at, each.ended_at - began_at, each.how) for each in load.outcomes]
    return samples, results, moved


def _sample(service: Service, load: Load, clients: int, began_at: float) -> Sample:
    state: State = service.state()
    judges = state.running("judge")
    held = ongoing(judges)
    return Sample(
        at_s=time.monotonic() - began_at,
        clients=clients,
        in_flight=load.in_flight,
        queued=sum(max(0, count - MAX_ONGOING) for count in held),
        running=len(judges),
        aimed_at=state.targets.get("judge", 0),
        members=sum(1 for each in state.replicas if each.deployment != "judge" and each.state == "RUNNING"),
    )


def _step(
    clients: int, starts_at: float, ends_at: float, began_at: float, samples: list[Sample], outcomes: list[Outcome]
) -> Step:
    wanted = min(MAX_REPLICAS, math.ceil(clients / TARGET))
    seen = [sample for sample in samples if starts_at <= sample.at_s + began_at < ends_at]
    up = bool(seen) and seen[0].running < wanted
    mine = [outcome for outcome in outcomes if starts_at <= outcome.began_at < ends_at]

    def first(reached: Callable[[Sample], bool]) -> float | None:
        return next((round(s.at_s + began_at - starts_at, 1) for s in seen if reached(s)), None) if up else None

    return Step(
        clients=clients,
        wanted=wanted,
        decided_s=first(lambda sample: sample.aimed_at >= wanted),
        followed_s=first(lambda sample: sample.running >= wanted),
        outcomes=dict(sorted(counted(mine).items())),
        p50_s=quantile(mine, 0.5),
        p99_s=quantile(mine, 0.99),
        slowest_refusal_s=max((outcome.took_s for outcome in mine if outcome.how == REFUSED), default=None),
    )


def wrong(steps: Sequence[Step]) -> list[str]:
    """What is not as it should be."""
    faults: list[str] = []
    for step in steps:
        allowed = {OK, REFUSED} if step.clients == OVERLOAD else {OK}
        if bad := set(step.outcomes) - allowed:
            faults.append(f"{step.clients} clients: {', '.join(sorted(bad))}")
        if step.decided_s is not None and (step.followed_s is None or step.followed_s > 10):
            faults.append(f"{step.clients} clients: {step.wanted} replicas after {step.followed_s} s")
    return faults


def plot(samples: list[Sample], outcomes: list[Outcome], file: Path) -> None:
    """Load, queue, replicas and latency over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, sharex=True, figsize=(8, 7), layout="constrained")
    load, queue, replicas, latency = axes
    times = [sample.at_s for sample in samples]
    load.plot(times, [sample.clients for sample in samples], drawstyle="steps-post", label="clients")
    load.plot(times, [sample.in_flight for sample in samples], label="requests under way")
    queue.plot(times, [sample.queued for sample in samples], color="tab:orange", label="waiting in judge replicas")
    replicas.plot(times, [each.aimed_at for each in samples], ":", drawstyle="steps-post", label="judges aimed at")
    replicas.plot(times, [each.running for each in samples], drawstyle="steps-post", label="judges running")
    replicas.plot(times, [each.members for each in samples], drawstyle="steps-post", label="members' replicas")
    centres = [at for at in times if at > _WINDOW_S]
    for q, name in ((0.5, "median"), (0.99, "p99")):
        windows = [[o for o in outcomes if at - _WINDOW_S <= o.ended_at < at] for at in centres]
        latency.plot(centres, [quantile(window, q) or math.nan for window in windows], label=f"{name}, answered")
    refused = [[o for o in outcomes if at - 1 <= o.ended_at < at and o.how == REFUSED] for at in centres]
    load.plot(centres, [len(each) for each in refused], color="tab:red", label="refused a second (429)")
    for axis, name in zip(axes, ("requests", "requests", "replicas", "seconds"), strict=True):
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper right", fontsize=8)
    latency.set_xlabel("seconds")
    figure.savefig(file, dpi=90)


def _table(steps: Sequence[Step]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    headings = (
        "clients",
        "judges wanted",
        "decided after",
        "running after",
        "answered",
        "refused",
        "failed",
        "median",
        "p99",
    )

    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f} s"

    rows = [
        (
            str(step.clients),
            str(step.wanted),
            seconds(step.decided_s),
            seconds(step.followed_s),
            str(step.outcomes.get(OK, 0)),
            str(step.outcomes.get(REFUSED, 0)),
            str(sum(count for how, count in step.outcomes.items() if how not in (OK, REFUSED))),
            seconds(step.p50_s),
            seconds(step.p99_s),
        )
        for step in steps
    ]
    return headings, rows


def markdown(steps: Sequence[Step]) -> str:
    """The table for the documentation."""
    headings, rows = _table(steps)
    lines = ["| " + " | ".join(line) + " |" for line in (headings, ("---",) * len(headings), *rows)]
    return "\n".join([*lines, "", machine(), ""])


CONFIG: dict[str, Any] = {
    "panel_ms": PANEL_MS,
    "judge_ms": JUDGE_MS,
    "backends__pair__replicas": {"min": 1, "max": 2, "target_ongoing": 200},
    "backends__single__replicas": {"min": 1, "max": 2, "target_ongoing": 200},
    "judge": {
        "replicas": {"min": 1, "max": MAX_REPLICAS},
        "target_queue_depth": TARGET,
        "max_ongoing": MAX_ONGOING,
        "max_queued": MAX_QUEUED,
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/autoscale"))
    parser.add_argument("--quick", action="store_true", help="one step up alone")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with serving(**CONFIG) as service:
        wait_until_whole(service)
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        samples, steps, outcomes = asyncio.run(measure(service, QUICK if asked.quick else STEPS, report))
    headings, rows = _table(steps)
    table = Table(*headings, title=machine())
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    found = {"machine": machine(), "steps": [asdict(step) for step in steps], "samples": [asdict(s) for s in samples]}
    (asked.out / "autoscale.json").write_text(json.dumps(found, indent=1))
    (asked.out / "autoscale.md").write_text(markdown(steps))
    plot(samples, outcomes, asked.out / "autoscale.png")
    for fault in (faults := wrong(steps)):
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
