"""The benchmark itself, for some seconds: this project and the floor, every answer right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.benchmarks import in_flight, report
from tests.benchmarks.contenders import FLOOR, FUSION, Contender, Running, running, upstream
from tests.benchmarks.figures import ADDED, PER_S, Run, compared, values
from tests.benchmarks.fusing.__main__ import table_of
from tests.benchmarks.fusing.agreeing import agreeing
from tests.benchmarks.fusing.figures import Figure
from tests.benchmarks.fusing.straggling import SLOW_S, straggling
from tests.benchmarks.load import is_right
from tests.benchmarks.measure import measure
from tests.benchmarks.upstream import fused
from tests.benchmarks.work import WORKS, Work

_SHORT = [
    replace(work, for_s=None if work.for_s is None else 1.0, clients=min(work.clients, 64))
    for work in WORKS
    if work.name != "1000 in flight"
] + [Work("1000 in flight", "fixed", 64, None)]


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[str]:
    with upstream() as url:
        yield url


@pytest.fixture(scope="module")
def service(upstream_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(FUSION, upstream_url, tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture(scope="module")
def runs(service: Running, upstream_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    found = _round(FUSION, service)
    with running(replace(FLOOR, environment=None), upstream_url, tmp_path_factory.mktemp("floor")) as floor:
        found += _round(FLOOR, floor)
    return found


def _round(contender: Contender, started: Running) -> list[Run]:
    """Every work, once."""
    return [Run(1, contender.name, work.name, measure(started, contender.model(work), work)) for work in _SHORT]


def test_everyone_answers_and_every_answer_is_right(runs: list[Run]) -> None:
    for run in runs:
        assert (run.measured.wrong, run.measured.failures) == (0, {}), run
        assert run.measured.right >= 1, run


def test_figures_are_read_off(runs: list[Run]) -> None:
    added = values(runs, ADDED, FUSION.name)[1]
    assert 0 < added < 1000
    ratio = compared(runs, PER_S, FLOOR.name)
    assert ratio is not None
    assert ratio.median > 0
    ours = next(run.measured for run in runs if run.contender == FUSION.name and run.work == PER_S.work)
    assert ours.cpu_ms["judge replica"] > 0
    assert ours.cpu_ms["member replicas"] > 0


def test_the_report(runs: list[Run], tmp_path: Path) -> None:
    console = Console(width=160, record=True)
    for drawn in (report.table(runs), report.targets(runs), report.where_the_time_goes(runs)):
        console.print(drawn)
    assert report.unanswered(runs) is None
    assert "added latency at one client, above the floor's" in console.export_text()

    report.write_json(runs, tmp_path / "bench.json")
    report.write_png(runs, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_requests_in_flight_and_the_memory_they_take(service: Running, tmp_path: Path) -> None:
    flight = in_flight.fly_on(service, Work("in flight", "fixed", 64, 2.0))

    assert (flight.measured.wrong, flight.measured.failures) == (0, {})
    assert flight.measured.right >= 64
    assert flight.grew("judge replica") is not None
    in_flight.write_png(flight, tmp_path / "in-flight.png")
    assert (tmp_path / "in-flight.png").read_bytes().startswith(b"\x89PNG")
    console = Console(width=160, record=True)
    console.print(in_flight.table(flight))
    assert f"{flight.measured.right} answered, 0 wrongly, 0 failed" in console.export_text()


def test_a_wrong_answer_is_told_from_a_right_one() -> None:
    assert is_right(fused(7, ("a", "b", "c")), 7, 3)
    assert is_right(fused(7, ("a", "c")), 7, 2)
    assert not is_right(fused(7, ("a", "c")), 7, 3)
    assert not is_right(fused(8, ("a", "b", "c")), 7, 3)
    assert not is_right("Candidate of a to q=7: …", 7, 2)


def test_what_fusing_saves_is_measured(tmp_path: Path) -> None:
    """Not how much: that is the long run's, on a machine at rest."""
    figures = asyncio.run(_short_figures())
    calls = next(figure for figure in figures if figure.unit == "calls")
    assert (calls.without, calls.with_, calls.holds) == (4, 3, True)
    adaptive, fixed = figures[2:]
    assert adaptive.with_ < SLOW_S * 1e3
    assert fixed.runs == adaptive.runs == 8
    with (tmp_path / "table").open("w") as file:
        Console(file=file, width=160).print(table_of(figures))
    assert "straggler" in (tmp_path / "table").read_text()


async def _short_figures() -> list[Figure]:
    return [*await agreeing(3), *await straggling(8)]
