"""`make bench-fusing`: what fusing saves, measured; a table and JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.benchmarks.fusing.agreeing import agreeing
from tests.benchmarks.fusing.figures import Figure
from tests.benchmarks.fusing.reading_ahead import reading_ahead
from tests.benchmarks.fusing.straggling import straggling
from tests.benchmarks.report import machine
from tests.vllm.engines import Engine


@contextmanager
def smollm2() -> Iterator[Engine]:
    """SmolLM2-135M-Instruct on a Ray and a Serve of its own."""
    import ray
    from ray import serve

    from cluster.serving.embedded_model import default_cache_dir, prepare
    from tests.vllm.engines import serve_engine

    model = prepare(default_cache_dir(), print)
    ray.init(address="local", include_dashboard=False, logging_level="error", log_to_driver=False, num_cpus=4)
    try:
        serve.start(proxy_location="Disabled")
        yield serve_engine("smollm2", str(model), {"max_model_len": 4096}, {})
    finally:
        serve.shutdown()
        ray.shutdown()


def bench(
    out: Annotated[Path, typer.Option(help="Where the table and the JSON go.")] = Path("build/bench-fusing"),
    runs: Annotated[int, typer.Option(min=1, help="Requests of each kind to the real engine.")] = 5,
    engine: Annotated[bool, typer.Option(help="Measure what takes a real engine too.")] = True,
) -> None:
    """Measure what agreement, adaptive waiting and reading ahead save."""
    console = Console(width=None if Console().is_terminal else 160)
    if not all(figure.holds for figure in measured(console, out, runs, engine=engine)):
        raise typer.Exit(1)


def measured(console: Console, out: Path, runs: int = 5, *, engine: bool = True) -> list[Figure]:
    """Every figure, told as a table and written as JSON into the folder `out`."""
    figures = [*asyncio.run(agreeing()), *asyncio.run(straggling())]
    if engine:
        with smollm2() as served:
            figures += asyncio.run(reading_ahead(served.member(), served.profiles, runs))
    out.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(), "figures": [{**asdict(figure), "ratio": figure.ratio} for figure in figures]}
    (out / "fusing.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    console.print(table_of(figures))
    return figures


def table_of(figures: list[Figure]) -> Table:
    table = Table("what", "without", "with", "ratio", "has to be", "is")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        values = [f"{value:.1f} {figure.unit}" for value in (figure.without, figure.with_)]
        table.add_row(figure.name, *values, ratio, figure.must, "yes" if figure.holds else "NO")
    return table


if __name__ == "__main__":
    typer.run(bench)
