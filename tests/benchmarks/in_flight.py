"""`make in-flight`: thousands of fused requests in flight on one judge replica for minutes, and what memory does."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import matplotlib as mpl
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.benchmarks import report
from tests.benchmarks.contenders import FUSION, Running, running, upstream
from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.processes import Usage
from tests.benchmarks.work import Scenario, Work, critical_path_s

mpl.use("Agg")

_FLAT_WITHIN = 0.05
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """The resident memory at one time, by kind of process."""

    at_s: float
    resident_bytes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Flight:
    """One run. Its first round of answers, in which everything is first used, is the warm-up."""

    work: Work
    measured: Measured
    samples: list[Sample]

    def settled(self) -> list[Sample]:
        """The samples after two rounds of answers, when every request in flight has taken a finished one's place."""
        from_s = 2 * critical_path_s(self.work.scenario, 1)
        return [sample for sample in self.samples if sample.at_s >= from_s]

    def grew(self, kind: str) -> float | None:
        """By what share the memory of a kind of process grew from the first to the last third of the settled time; None
        when the run was too short to say."""
        found = [sample.resident_bytes.get(kind, 0) for sample in self.settled()]
        third = len(found) // 3
        if third == 0 or not any(found):
            return None
        return statistics.mean(found[-third:]) / statistics.mean(found[:third]) - 1

    def holds(self) -> bool:
        """Whether every request was answered rightly, and the replicas' memory stayed flat."""
        grown = [self.grew(kind) for kind in ("judge replica", "member replicas")]
        answered = self.measured.right > 0 and not self.measured.wrong and not self.measured.failed
        return answered and all(each is not None and each <= _FLAT_WITHIN for each in grown)


def fly(work: Work, folder: Path, progress: Progress | None = None) -> Flight:
    """Start a service in `folder` and keep the work's requests in flight on it."""
    with upstream() as url, running(FUSION, url, folder) as started:
        return fly_on(started, work, progress)


def fly_on(started: Running, work: Work, progress: Progress | None = None) -> Flight:
    """Keep the work's requests in flight on a service that runs, and sample its memory meanwhile."""
    samples: list[Sample] = []
    measure(started, FUSION.model(work), Work("", "fixed", 8, 2.0), first_question=10_000_000)
    began = time.monotonic()
    step = None if progress is None else progress.add_task(work.name, total=work.for_s)

    def watch(usage: Usage) -> None:
        at_s = time.monotonic() - began
        samples.append(Sample(at_s, dict(usage.resident_bytes)))
        if progress is not None and step is not None:
            progress.update(step, completed=at_s)

    measured = measure(started, FUSION.model(work), work, watch=watch)
    return Flight(work, measured, samples)


def table(flight: Flight) -> Table:
    """Memory minute by minute, and what came of the requests."""
    found = flight.measured
    answered = f"{found.right} answered, {found.wrong} wrongly, {found.failed} failed; {found.per_s:.1f} a second"
    drawn = Table(title=f"{flight.work.name}: {answered}")
    kinds = list(flight.samples[-1].resident_bytes)
    drawn.add_column("minute", justify="right")
    for kind in kinds:
        drawn.add_column(f"{kind}, MiB", justify="right")
    by_minute: dict[int, list[Sample]] = {}
    for sample in flight.samples:
        by_minute.setdefault(int(sample.at_s // 60), []).append(sample)
    for minute, samples in by_minute.items():
        means = [statistics.mean(sample.resident_bytes.get(kind, 0) for sample in samples) / _MIB for kind in kinds]
        drawn.add_row(str(minute + 1), *(f"{mean:.0f}" for mean in means))
    grown = [flight.grew(kind) for kind in kinds]
    drawn.add_section()
    drawn.add_row("grew", *("" if each is None else f"{each:+.1%}" for each in grown))
    return drawn


def write_png(flight: Flight, file: Path) -> None:
    """Memory over time, by kind of process."""
    from matplotlib import pyplot as plt

    canvas, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    times_s = [sample.at_s for sample in flight.samples]
    for kind in flight.samples[-1].resident_bytes:
        axis.plot(times_s, [sample.resident_bytes.get(kind, 0) / _MIB for sample in flight.samples], label=kind)
    axis.set(xlabel="s", ylabel="resident MiB", title=flight.work.name, ylim=(0, None))
    axis.legend()
    canvas.savefig(file, dpi=110)
    plt.close(canvas)


def main(
    clients: Annotated[int, typer.Option(min=1, help="How many requests are in flight at once.")] = 2000,
    for_s: Annotated[float, typer.Option(min=1, help="For how many seconds requests are begun.")] = 600.0,
    scenario: Annotated[str, typer.Option(help="How long the models take.")] = "long",
    out: Annotated[Path, typer.Option(help="Where the table, the JSON and the picture go.")] = Path("build/in-flight"),
) -> None:
    """Keep requests in flight, and look at memory."""
    console = Console(width=None if Console().is_terminal else 160)
    out.mkdir(parents=True, exist_ok=True)
    work = Work(f"{clients} in flight for {for_s:.0f} s", cast("Scenario", scenario), clients, for_s)
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as progress:
        flight = fly(work, out / "service", progress)
    written: dict[str, Any] = {"machine": report.machine(), "holds": flight.holds(), **asdict(flight)}
    (out / "in-flight.json").write_text(json.dumps(written, indent=1))
    write_png(flight, out / "in-flight.png")
    with (out / "in-flight.txt").open("w") as file:
        for to in (console, Console(file=file, width=160)):
            to.print(table(flight))
            to.print(f"holds: {'yes' if flight.holds() else 'no'}")
    if not flight.holds():
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
