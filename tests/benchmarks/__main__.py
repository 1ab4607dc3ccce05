"""`make bench`: every contender in turn, on the same work, round after round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks import report
from tests.benchmarks.contenders import CONTENDERS, Contender, NotStarted, running, upstream
from tests.benchmarks.environments import NotInstalled
from tests.benchmarks.figures import Run
from tests.benchmarks.fusing import __main__ as fusing
from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.work import WORKS, Work

_WARM_UP_S = 2.0


def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often every contender has its turn.")] = 3,
    out: Annotated[Path, typer.Option(help="Where the table, the JSON and the picture go.")] = Path("build/bench"),
    only: Annotated[list[str] | None, typer.Option(help="Contenders whose name has this in it.")] = None,
    work: Annotated[list[str] | None, typer.Option(help="Works whose name has this in it.")] = None,
) -> None:
    """Measure every contender on the same work and, with none left out, what fusing itself saves."""
    console = Console(width=None if Console().is_terminal else 160)
    contenders = [each for each in CONTENDERS if not only or any(text in each.name for text in only)]
    works = [each for each in WORKS if not work or any(text in each.name for text in work)]
    out.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    left_out: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, upstream() as url:
        steps = progress.add_task("", total=rounds * len(contenders) * len(works))
        for number in range(1, rounds + 1):
            for contender in _rotated(contenders, number):
                if contender.name not in left_out:
                    try:
                        for each, measured in _turn(contender, works, url, out, progress, steps, number):
                            runs.append(Run(number, contender.name, each.name, measured))
                            report.write_json(runs, out / "bench.json")
                    except (NotInstalled, NotStarted) as error:
                        left_out[contender.name] = str(error)
    _tell(console, runs, left_out, out)
    saves = [] if only or work else fusing.measured(console, out)
    if left_out or report.unanswered(runs) or not all(figure.holds for figure in saves):
        raise typer.Exit(1)


def _turn(
    contender: Contender, works: list[Work], url: str, out: Path, progress: Progress, steps: object, number: int
) -> list[tuple[Work, Measured]]:
    """One contender's runs of one round."""
    progress.update(steps, description=f"round {number}: {contender.name} starts")  # type: ignore[arg-type]
    found: list[tuple[Work, Measured]] = []
    with running(contender, url, out / contender.name.replace(" ", "-")) as started:
        warm_up = Work("", "fixed", 8, _WARM_UP_S)
        measure(started, contender.model(warm_up), warm_up, first_question=10_000_000)
        for work in works:
            progress.update(steps, description=f"round {number}: {contender.name}, {work.name}")  # type: ignore[arg-type]
            found.append((work, measure(started, contender.model(work), work)))
            progress.advance(steps)  # type: ignore[arg-type]
    return found


def _rotated(contenders: list[Contender], number: int) -> list[Contender]:
    """Another one begins each round, so that nobody is always the first on a rested machine."""
    first = (number - 1) % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def _tell(console: Console, runs: list[Run], left_out: dict[str, str], out: Path) -> None:
    for name, why in left_out.items():
        console.print(f"[red]{name} was left out:[/] {why}")
    if not runs:
        return
    report.write_png(runs, out / "bench.png")
    tables = [report.table(runs), report.targets(runs), report.where_the_time_goes(runs), report.unanswered(runs)]
    with (out / "bench.txt").open("w") as file:
        written = Console(file=file, width=160)
        for to in (console, written):
            to.print(", ".join(f"{name}: {what}" for name, what in report.machine().items() if name != "contenders"))
            for drawn in tables:
                if drawn is not None:
                    to.print(drawn)
    console.print(f"{out}/bench.json, bench.png and bench.txt hold all of it")


if __name__ == "__main__":
    typer.run(bench)
