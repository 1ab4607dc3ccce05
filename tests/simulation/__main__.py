"""`make simulate`: what each policy costs and misses under each trace, as a table and a picture in docs/."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.simulation.arrivals import PEAK_PER_S, Trace, bursty, diurnal, flash_crowd
from tests.simulation.fleet import Fleet, Outcome, Service
from tests.simulation.policies import Fixed, QueueDepth, Scaler, ServeDefault

DOCS = Path(__file__).parents[2] / "docs"
TARGET = 96.0
"""Fused requests that each judge replica should have under way: a third of what its core and its places allow."""

MOST = 1500
# Engines are kept longer than judges are, for their start takes longer: deployments/vllm/deployment.py.
_ENGINE_DOWN_AFTER_S = 600.0
_NAMES = {"queue depth": "#1b7837", "Serve's default": "#d95f02", "fixed, for the peak": "#7570b3"}


@dataclass(frozen=True)
class Row:
    start_s: float
    trace: str
    policy: str
    outcome: Outcome


def compare(trace: Trace, service: Service, down_after_s: float) -> list[Row]:
    """Each policy under one trace. A fixed fleet is as large as the mean of the trace takes, or its peak."""
    served_per_s = TARGET / sum(service.quantiles_s) * len(service.quantiles_s)
    seconds = range(int(trace.lasts_s))
    mean = sum(map(trace.rate, seconds)) / len(seconds)
    at_first, for_mean, for_peak = (
        math.ceil(rate / served_per_s) for rate in (trace.rate(0), mean, max(map(trace.rate, seconds)))
    )
    contenders: list[tuple[str, Scaler, int]] = [
        ("queue depth", QueueDepth(TARGET, down_after_s), at_first),
        ("Serve's default", ServeDefault(TARGET, MOST), at_first),
        ("fixed, for the mean", Fixed(for_mean), for_mean),
        ("fixed, for the peak", Fixed(for_peak), for_peak),
    ]
    return [
        Row(service.start_s, trace.name, name, Fleet(trace, service, scaler, replicas, MOST).run())
        for name, scaler, replicas in contenders
    ]


def table(rows: list[Row]) -> str:
    lines = [
        "| a replica starts in | arrivals | policy | missed | replica-hours | most replicas | turns |",
        "| ---: | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.start_s:.0f} s | {row.trace} | {row.policy} | {row.outcome.missed:.3%} | "
        f"{row.outcome.replica_hours:,.0f} | {max(row.outcome.replicas):,} | {row.outcome.turns} |"
        for row in rows
    ]
    return "\n".join(lines)


def picture(rows: list[Row], file: Path) -> None:
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "fusion"
    panels = list(dict.fromkeys((row.start_s, row.trace) for row in rows))
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 2.6 * len(panels)), layout="constrained")
    for axis, (start_s, trace) in zip(axes, panels, strict=True):
        for row in rows:
            if (row.start_s, row.trace) == (start_s, trace) and row.policy in _NAMES:
                hours = [at / 3600 for at in row.outcome.times_s]
                axis.plot(hours, row.outcome.replicas, label=row.policy, color=_NAMES[row.policy], linewidth=1)
        axis.set(title=f"{trace}, a replica starts in {start_s:.0f} s", ylabel="replicas", xlabel="hours", ylim=0)
        arrivals = axis.twinx()
        first = next(row for row in rows if (row.start_s, row.trace) == (start_s, trace))
        hours = [at / 3600 for at in first.outcome.times_s]
        arrivals.fill_between(hours, first.outcome.rates, alpha=0.15, color="grey", linewidth=0)
        arrivals.set(ylabel="arrivals a second", ylim=(0, PEAK_PER_S * 1.4))
    axes[0].legend(loc="upper left")
    figure.savefig(file, dpi=90, metadata={"Software": None})


def into(document: Path, content: str) -> None:
    """Put the table between its marks."""
    text = document.read_text()
    marked, times = re.subn(
        r"(<!-- simulation -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{content}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )
    if times != 1:
        raise SystemExit(f"{document} has no place for the table")
    document.write_text(marked)


def main() -> None:
    rows: list[Row] = []
    for service, down_after_s in ((Service(start_s=8), 60.0), (Service(start_s=90), _ENGINE_DOWN_AFTER_S)):
        for trace in (diurnal(), bursty(), flash_crowd()):
            rows += compare(trace, service, down_after_s)
            sys.stdout.write("\n".join([*table(rows[-4:]).splitlines()[2:], ""]))
    into(DOCS / "autoscaling.md", table(rows))
    picture(rows, DOCS / "autoscaling-simulated.png")


if __name__ == "__main__":
    main()
