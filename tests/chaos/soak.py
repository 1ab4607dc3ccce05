"""`make soak`: an hour of a busy service in ten minutes, and whether anything grows.

    python -m tests.chaos.soak [--out FOLDER] [--minutes N]

The upstream answers within tens of milliseconds, so that the requests of an hour fit in. Half of the clients stream.
Memory, open files and threads are the operating system's count for each process, tasks and objects asyncio's and the
garbage collector's own inside of the replicas, actors Ray's.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import ray
from ray import cloudpickle
from rich.console import Console
from rich.table import Table

from tests.chaos.chaos import BODY
from tests.scaling.load import OK, Load, counted, quantile
from tests.scaling.machine import machine
from tests.scaling.service import KEY, Service, serving, wait_until_whole

CLIENTS = 12
_EVERY_S = 10.0
ALLOWED: Mapping[str, tuple[float, float]] = {
    "memory_mb": (0.05, 8.0),
    "files": (0.05, 8.0),
    "threads": (0.05, 4.0),
    "tasks": (0.05, 6.0),
    "objects": (0.05, 3000.0),
    "actors": (0.0, 0.0),
}
"""How much each may grow and still count as flat: a fraction of what there was, or an amount where that is more."""
_OF_THE_MOMENT = ("tasks", "objects")
"""They follow the calls that happen to be under way, which their fewest leaves out."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One count of one kind of process: its median in the first and in the last third of the time after the warm-up,
    or its fewest, all processes of the kind together."""

    kind: str
    count: str
    early: float
    late: float

    @property
    def grew(self) -> bool:
        fraction, amount = ALLOWED[self.count]
        return self.late - self.early > max(fraction * self.early, amount)


Counts = dict[tuple[str, str], float]


def counts(service: Service) -> Counts:
    """Every count by kind of process."""
    found: Counts = defaultdict(float)
    state = service.state()
    kinds = {replica.pid: _kind(replica.deployment) for replica in state.replicas}
    kinds[service.controller_pid()] = "Serve's controller"
    kinds[service.proxy_pid()] = "HAProxy's manager"
    kinds |= {process.pid: "HAProxy" for process in service.haproxies()}
    for pid, kind in kinds.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found[kind, "memory_mb"] += process.memory_full_info().uss / 2**20
            found[kind, "files"] += process.num_fds()
            found[kind, "threads"] += process.num_threads()
    for replica in state.replicas:
        with suppress(Exception):
            actor: Any = ray.get_actor(replica.actor, namespace="serve")
            tasks, objects = ray.get(actor.__ray_call__.remote(_inside), timeout=5)
            found[_kind(replica.deployment), "tasks"] += tasks
            found[_kind(replica.deployment), "objects"] += objects
    found["Ray", "actors"] = sum(actor["State"] == "ALIVE" for actor in ray._private.state.actors().values())
    return dict(found)


def _kind(deployment: str) -> str:
    return "judge" if deployment == "judge" else "members"


def _inside(_: object) -> tuple[int, int]:
    gc.collect()
    objects = gc.get_objects()
    return sum(isinstance(each, asyncio.Task) and not each.done() for each in objects), len(objects)


# A replica cannot import what is here.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


async def soak(
    service: Service, for_s: float, report: Callable[[str], None]
) -> tuple[list[tuple[float, Counts]], dict[str, int], float | None]:
    """The counts over time, what became of the requests, and the median seconds of one."""
    every_s = min(_EVERY_S, for_s / 6)
    series: list[tuple[float, Counts]] = []
    async with Load(service.url, BODY, KEY) as whole, Load(service.url, {**BODY, "stream": True}, KEY) as streamed:
        loads = (whole, streamed)
        for load in loads:
            await load.clients(CLIENTS // 2)
        began_at = time.monotonic()
        while (at := time.monotonic() - began_at) < for_s:
            series.append((at, await asyncio.to_thread(counts, service)))
            done = sum(len(load.outcomes) for load in loads)
            report(f"{at:.0f} s: {done} requests, {series[-1][1].get(('judge', 'memory_mb'), 0):.0f} MB in the judge")
            await asyncio.sleep(every_s)
    outcomes = [outcome for load in loads for outcome in load.outcomes]
    return series, dict(counted(outcomes)), quantile(outcomes, 0.5)


def growths(series: list[tuple[float, Counts]]) -> list[Growth]:
    """How every count went. The first fifth of the time is the warm-up."""
    warm = [found for _, found in series[len(series) // 5 :]]
    third = max(1, len(warm) // 3)
    names = sorted({name for found in warm for name in found})
    return [
        Growth(
            kind,
            count,
            _usual(count, [found.get((kind, count), 0.0) for found in warm[:third]]),
            _usual(count, [found.get((kind, count), 0.0) for found in warm[-third:]]),
        )
        for kind, count in names
    ]


def _usual(count: str, seen: list[float]) -> float:
    return min(seen) if count in _OF_THE_MOMENT else median(seen)


def plot(series: list[tuple[float, Counts]], file: Path) -> None:
    """Memory, open files and tasks over time, each as a fraction of what it was after the warm-up."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(8, 6), layout="constrained")
    for axis, count in zip(axes, ("memory_mb", "files", "tasks"), strict=True):
        for kind in sorted({name[0] for _, found in series for name in found if name[1] == count}):
            axis.plot([at / 60 for at, _ in series], [found.get((kind, count), 0) for _, found in series], label=kind)
        axis.set_ylabel(count.replace("_mb", ", MB"))
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=8)
    axes[-1].set_xlabel("minutes")
    figure.savefig(file, dpi=90)


HEADINGS = ("what", "count", "early", "late", "growth")


def cells(growth: Growth) -> tuple[str, ...]:
    """A growth as text."""
    change = growth.late - growth.early
    return (
        growth.kind,
        growth.count.replace("_mb", ", MB"),
        f"{growth.early:.0f}",
        f"{growth.late:.0f}",
        f"{change:+.0f}" + (" grew" if growth.grew else ""),
    )


CONFIG: dict[str, Any] = {"panel_ms": (20, 40, 80), "judge_ms": 40}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with serving(**CONFIG) as service:
        wait_until_whole(service)
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        series, outcomes, p50_s = asyncio.run(soak(service, asked.minutes * 60, report))
    found = growths(series)
    said = (
        f"{sum(outcomes.values())} requests in {asked.minutes:g} minutes: {outcomes}; median {p50_s:.2f} s. {machine()}"
    )
    table = Table(*HEADINGS, title=said)
    for growth in found:
        table.add_row(*cells(growth))
    Console().print(table)
    lines = ["| " + " | ".join(line) + " |" for line in (HEADINGS, ("---",) * len(HEADINGS), *map(cells, found))]
    (asked.out / "soak.md").write_text("\n".join([*lines, "", said, ""]))
    plain = [
        {"at_s": at, "counts": {f"{kind}: {count}": n for (kind, count), n in each.items()}} for at, each in series
    ]
    content = {"said": said, "growth": [asdict(growth) for growth in found], "series": plain}
    (asked.out / "soak.json").write_text(json.dumps(content, indent=1))
    plot(series, asked.out / "soak.png")
    failed = {how for how in outcomes if how != OK}
    return 1 if failed or any(growth.grew for growth in found) else 0


if __name__ == "__main__":
    sys.exit(main())
