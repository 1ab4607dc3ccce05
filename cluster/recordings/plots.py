"""Draws plots as inline SVG in the page's own colours, so that they follow its light or dark appearance."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from cluster.recordings.figures import Figures, days_between
from cluster.recordings.show import milliseconds

mpl: Any = matplotlib  # its own types are too loose for strict checking


# matplotlib knows no CSS: it draws in placeholder colours, which are replaced by variables of the page.
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"


_SERIES = tuple(f"#0404{number:02}" for number in range(1, 9))


_GOOD, _WARN, _BAD, _GREY = "#050501", "#050502", "#050503", "#050504"


_CSS = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    _GOOD: "var(--good)",
    _WARN: "var(--warn)",
    _BAD: "var(--bad)",
    _GREY: "var(--grey)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(_SERIES, 1)},
}


_OUTCOMES = {"answered": _GOOD, "degraded": _WARN, "failed": _BAD, "cancelled": _GREY}


_STATUSES = {"answered": _GOOD, "failed": _BAD, "cancelled": _GREY}


_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


_LEGEND: Mapping[str, Any] = {"frameon": False, "fontsize": 9, "labelcolor": _INK}


_WIDE = (9.6, 3.0)


_HALF = (4.7, 3.1)


class Plot:
    """A plot to draw on; `svg` returns it. `name` makes its ids unique on the page, `label` is for screen readers."""

    def __init__(self, name: str, label: str, size: tuple[float, float] = _HALF) -> None:
        self._name = name
        self._label = label
        with mpl.rc_context(_STYLE):
            self._figure: Any = Figure(figsize=size, layout="constrained")
            self.axes: Any = self._figure.add_subplot()

    def svg(self) -> str:
        out = io.StringIO()
        with mpl.rc_context({**_STYLE, "svg.hashsalt": self._name}):
            self._figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        drawn = out.getvalue()
        drawn = drawn[drawn.index("<svg") :]
        drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
        drawn = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px var(--font)", drawn)
        drawn = re.sub(r'id="([\w.]+)"', rf'id="{self._name}-\1"', drawn)
        drawn = re.sub(r'(href="#|url\(#)', rf"\1{self._name}-", drawn)
        drawn = re.sub(r"#0[1-5]0[0-5]0\d\b", lambda found: _CSS.get(found[0], found[0]), drawn)
        width, height = (float(side) * 72 for side in self._figure.get_size_inches())
        opening = f'<svg role="img" aria-label="{self._label}" viewBox="0 0 {width:g} {height:g}"'
        return re.sub(
            r"<svg [^>]*?(?= xmlns=)[^>]*>",
            f'{opening} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">',
            drawn,
            count=1,
        )


def requests_by_day(figures: Figures) -> str:
    """How requests ended, day by day."""
    plot = Plot("days", "Requests by day and outcome", _WIDE)
    days = days_between(min(figures.by_day), max(figures.by_day))
    series = {outcome: [figures.by_day[day][outcome] for day in days] for outcome in _OUTCOMES}
    _stacked(plot.axes, days, {name: values for name, values in series.items() if any(values)}, _OUTCOMES)
    plot.axes.set_ylabel("requests")
    return plot.svg()


def latency_curves(figures: Figures) -> str:
    """The share of requests answered within a time, by preset, beside the slowest members' times."""
    plot = Plot("latency", "Share of requests answered within a time")
    for (preset, times), colour in zip(sorted(figures.total_ms.items()), _SERIES, strict=False):
        _curve(plot.axes, times, preset, colour, "-")
    if figures.slowest_ms:
        _curve(plot.axes, figures.slowest_ms, "slowest member", _MUTED, "--")
    plot.axes.set_xscale("log")
    _format_axis(plot.axes.xaxis, _seconds)
    plot.axes.xaxis.set_minor_formatter("")
    _format_axis(plot.axes.yaxis, _share)
    plot.axes.set_ylim(0, 1.02)
    plot.axes.legend(loc="lower right", **_LEGEND)
    return plot.svg()


def where_time_goes(figures: Figures) -> str:
    """The mean time of a request by stage."""
    plot = Plot("stages", "Mean time by stage")
    means = {stage: sum(spent) / len(spent) / 1e3 for stage, spent in figures.spent_ms.items() if spent}
    _bars(plot.axes, means, lambda value: milliseconds(value * 1e3), _SERIES[0])
    _format_axis(plot.axes.xaxis, _seconds)
    return plot.svg()


def cost_by_day(figures: Figures) -> str:
    """Cost by day and stage."""
    plot = Plot("cost", "Cost by day and stage", _WIDE)
    days = days_between(min(figures.cost_by_day), max(figures.cost_by_day))
    stages = sorted({stage for day in figures.cost_by_day.values() for stage in day})
    colours = dict(zip(stages, _SERIES, strict=False))
    _stacked(plot.axes, days, {stage: [figures.cost_by_day[day][stage] for day in days] for stage in stages}, colours)
    _format_axis(plot.axes.yaxis, _usd)
    return plot.svg()


def cost_by_member(figures: Figures) -> str:
    """What each member's candidates cost."""
    costs = {name: member.cost_usd for name, member in figures.members.items() if member.cost_usd}
    plot = Plot("member-cost", "Cost of each member's candidates", _rows(len(costs)))
    _bars(plot.axes, costs, _usd, _SERIES[1])
    _format_axis(plot.axes.xaxis, _usd)
    return plot.svg()


def wins(figures: Figures) -> str:
    """The share of its verdicts that each member won."""
    plot = Plot("wins", "Share of verdicts won by each member")
    shares = {name: member.wins / member.judged for name, member in figures.members.items() if member.judged}
    counts = {name: f"{member.wins} of {member.judged}" for name, member in figures.members.items()}
    _bars(plot.axes, shares, _share, _SERIES[2], counts)
    plot.axes.set_xlim(0, 1.3)
    plot.axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    _format_axis(plot.axes.xaxis, _share)
    return plot.svg()


def agreement(figures: Figures) -> str:
    """How alike the candidates of a panel were."""
    plot = Plot("agreement", "How alike the answers of a panel are")
    plot.axes.hist(figures.agreements, bins=[step / 20 for step in range(21)], color=_SERIES[4], rwidth=0.92)
    plot.axes.set_xlim(0, 1)
    plot.axes.set_xlabel("0: nothing in common, 1: the same")
    plot.axes.set_ylabel("panels")
    plot.axes.grid(axis="x", visible=False)
    return plot.svg()


def degradations(figures: Figures) -> str:
    """Degraded answers and errors, by reason."""
    reasons = {name: float(count) for name, count in figures.degradations.items()}
    failures = {f"no answer: {name}": float(count) for name, count in figures.errors.items()}
    colours = [*[_WARN] * len(reasons), *[_BAD] * len(failures)]
    both = {**reasons, **failures}
    plot = Plot("degradations", "Degraded answers and errors, by reason", _rows(len(both)))
    ordered = sorted(zip(both.items(), colours, strict=True), key=lambda pair: pair[0][1], reverse=True)
    _bars(plot.axes, dict(pair for pair, _ in ordered), "{:.0f}".format, [colour for _, colour in ordered])
    return plot.svg()


def outcomes_by_member(figures: Figures) -> str:
    """How each member's candidates ended."""
    plot = Plot("members", "Candidates by member and outcome", _rows(len(figures.members) + 1))
    names = sorted(figures.members, key=lambda name: figures.members[name].statuses.total())
    left = [0] * len(names)
    for status, colour in _STATUSES.items():
        counts = [figures.members[name].statuses[status] for name in names]
        plot.axes.barh(names, counts, left=left, color=colour, height=0.62, label=status)
        left = [so_far + count for so_far, count in zip(left, counts, strict=True)]
    plot.axes.grid(axis="y", visible=False)
    _legend(plot.axes, 3)
    return plot.svg()


def _rows(count: int) -> tuple[float, float]:
    """The size of a wide plot with `count` horizontal bars."""
    return (_WIDE[0], 0.55 + 0.36 * count)


def _stacked(
    axes: Any, days: Sequence[datetime], series: Mapping[str, Sequence[float]], colours: Mapping[str, str]
) -> None:
    bottom = [0.0] * len(days)
    places = range(len(days))
    for name, values in series.items():
        axes.bar(places, values, bottom=bottom, color=colours[name], width=0.72, label=name)
        bottom = [so_far + value for so_far, value in zip(bottom, values, strict=True)]
    step = max(1, len(days) // 10)
    axes.set_xticks(list(places)[::step], [f"{day:%-d %b}" for day in days[::step]])
    axes.set_xlim(-0.6, max(len(days) - 0.4, 6))
    axes.grid(axis="x", visible=False)
    _legend(axes, len(series))


def _format_axis(axis: Any, format_value: Callable[[float], str]) -> None:
    """Label the axis with formatted values."""

    def label(value: float, _: object) -> str:
        return format_value(value)

    axis.set_major_formatter(label)


def _seconds(value: float) -> str:
    return f"{value:g} s"


def _share(value: float) -> str:
    return f"{value:.0%}"


def _usd(value: float) -> str:
    return f"${value:.4g}"


def _legend(axes: Any, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, handlelength=1, borderaxespad=0.2, **_LEGEND)


def _curve(axes: Any, times_ms: Sequence[float], label: str, colour: str, line: str) -> None:
    ordered = sorted(max(time, 1.0) for time in times_ms)  # a logarithmic axis has no zero
    shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
    axes.step([time / 1e3 for time in ordered], shares, where="post", color=colour, ls=line, lw=1.8, label=label)


def _bars(
    axes: Any,
    values: Mapping[str, float],
    format_value: Callable[[float], str],
    colour: str | Sequence[str],
    beside: Mapping[str, str] | None = None,
) -> None:
    names = [*values]
    if isinstance(colour, str):
        names.sort(key=lambda name: values[name], reverse=True)
    drawn = axes.barh(names, [values[name] for name in names], color=colour, height=0.62)
    labels = [format_value(values[name]) + (f"  ({beside[name]})" if beside else "") for name in names]
    axes.bar_label(drawn, labels, padding=4, fontsize=9, color=_MUTED)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max(values.values()) * 1.22 or 1)
