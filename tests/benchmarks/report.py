"""Runs as a table in a terminal, as JSON and as a picture."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
from rich.table import Table

from tests.benchmarks.contenders import FUSION
from tests.benchmarks.environments import PACKAGES
from tests.benchmarks.figures import (
    ADDED,
    CPU,
    FIGURES,
    FIRST_TOKEN,
    IN_FLIGHT_MIB,
    PER_S,
    TARGETS,
    ZERO_PER_S,
    Run,
    Spread,
    compared,
    holds,
    measured_against,
    spread,
    values,
)

mpl.use("Agg")


def machine() -> dict[str, Any]:
    """What all of it ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "ray": version("ray"),
        "contenders": PACKAGES,
    }


def table(runs: Sequence[Run]) -> Table:
    """Every figure of every contender: the median and its range, and below it Fusion Cluster's over the contender's."""
    names = list(dict.fromkeys(run.contender for run in runs))
    drawn = Table(title="Medians over the rounds (least to most); below: Fusion Cluster's over this one")
    drawn.add_column("work")
    drawn.add_column("figure")
    for name in names:
        drawn.add_column(name, justify="right")
    works = {run.work for run in runs}
    last = ""
    for figure in FIGURES:
        if figure.work not in works:
            continue
        if figure.work != last:
            drawn.add_section()
        cells = [_cell(runs, figure, name) for name in names]
        drawn.add_row("" if figure.work == last else figure.work, f"{figure.name} {figure.unit}".strip(), *cells)
        last = figure.work
    return drawn


def targets(runs: Sequence[Run]) -> Table:
    """What was aimed at, and what came of it."""
    drawn = Table("target", "wanted", "measured", "holds", title="Targets")
    for target in TARGETS:
        found = measured_against(runs, target)
        if found is not None:
            wanted = f"≤ {target.at_most:g}" if target.at_most is not None else f"≥ {target.at_least:g}"
            drawn.add_row(target.says, wanted, _text(found), "[green]yes[/]" if holds(target, found) else "[red]no[/]")
    return drawn


def where_the_time_goes(runs: Sequence[Run]) -> Table:
    """CPU-milliseconds a fused request by kind of process, of Fusion Cluster."""
    drawn = Table(title=f"{FUSION.name}: CPU-ms a fused request, by process")
    ours = [run for run in runs if run.contender == FUSION.name]
    works = list(dict.fromkeys(run.work for run in ours))
    drawn.add_column("process")
    for work in works:
        drawn.add_column(work, justify="right")
    for kind in dict.fromkeys(kind for run in ours for kind in run.measured.cpu_ms):
        found = [spread([run.measured.cpu_ms.get(kind, 0.0) for run in ours if run.work == work]) for work in works]
        drawn.add_row(kind, *(_text(each) if each else "" for each in found))
    return drawn


def unanswered(runs: Sequence[Run]) -> Table | None:
    """Whoever gave a wrong answer or none, None when nobody did."""
    bad = [run for run in runs if run.measured.wrong or run.measured.failed]
    if not bad:
        return None
    drawn = Table("contender", "work", "round", "right", "wrong", "failed", title="Not every answer was right")
    for run in bad:
        failed = ", ".join(f"{count} {kind}" for kind, count in run.measured.failures.items()) or "0"
        drawn.add_row(run.contender, run.work, str(run.round), str(run.measured.right), str(run.measured.wrong), failed)
    return drawn


def write_json(runs: Sequence[Run], file: Path) -> None:
    """Every run, and the machine."""
    file.write_text(json.dumps({"machine": machine(), "runs": [asdict(run) for run in runs]}, indent=1))


def write_png(runs: Sequence[Run], file: Path) -> None:
    """The figures that say most, as bars with their range."""
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(run.contender for run in runs))
    works = {run.work for run in runs}
    shown = [
        figure
        for figure in (ADDED, PER_S, ZERO_PER_S, FIRST_TOKEN, CPU, IN_FLIGHT_MIB)
        if figure.work in works and any(values(runs, figure, name) for name in names)
    ]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    canvas, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3.2 * rows), squeeze=False, layout="constrained")
    for axis, figure in zip(axes.flat, shown, strict=False):
        found = {name: each for name in names if (each := spread(list(values(runs, figure, name).values())))}
        for place, (name, each) in enumerate(found.items()):
            error = [[each.median - each.least], [each.most - each.median]]
            axis.barh(place, each.median, xerr=error, color="tab:blue" if name == FUSION.name else "tab:gray")
        axis.set_yticks(range(len(found)), list(found))
        axis.invert_yaxis()
        axis.set_title(f"{figure.work}: {figure.name} ({figure.unit.strip() or 'count'})", fontsize=9)
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    canvas.savefig(file, dpi=110)
    plt.close(canvas)


def _cell(runs: Sequence[Run], figure: Any, name: str) -> str:
    own = spread(list(values(runs, figure, name).values()))
    if own is None:
        return "-"
    if name == FUSION.name:
        return _text(own)
    ratio = compared(runs, figure, name)
    return _text(own) if ratio is None else f"{_text(own)}\n[cyan]{_text(ratio)} x[/]"


def _text(found: Spread) -> str:
    digits = 0 if abs(found.median) >= 100 else 1 if abs(found.median) >= 10 else 2
    if found.least == found.most:
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f} ({found.least:.{digits}f} to {found.most:.{digits}f})"
