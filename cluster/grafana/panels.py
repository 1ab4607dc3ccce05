"""What dashboards are made of here, and how Grafana's typed builders make one of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

TAG = "fusion-cluster"
COLUMNS = 24
DATA_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_FIRST_FREE_ID = 101

P = TypeVar("P", stat.Panel, timeseries.Panel)
Board = dict[str, Any]
"""A dashboard's model as Grafana takes it, ready for JSON."""


@dataclass(frozen=True)
class Query:
    """A PromQL expression and what its series are called in the legend, such as `{{member}}`."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A graph, or a number of now. `unit` is Grafana's name of it; of `COLUMNS` columns it takes `width`.

    `id` is given to panels that others ask for by number; all others are numbered as they come.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["graph", "number"] = "graph"
    width: int = 8
    stacked: bool = False
    id: int | None = None


@dataclass(frozen=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """What can be chosen above a dashboard: the values of `label` that `metric` has."""

    name: str
    title: str
    metric: str
    label: str


@dataclass(frozen=True)
class Dashboard:
    """A whole one."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """Every panel, in order."""
        for row in self.rows:
            yield from row.panels


def per(labels: str, expr: str) -> str:
    """The sum of an expression for each value of the labels."""
    return f"sum by ({labels}) ({expr})"


def rate(selector: str) -> str:
    """What a counter grows by a second."""
    return f"rate({selector}[$__rate_interval])"


def share(part: str, whole: str) -> str:
    """One rate over another, where there is any."""
    return f"{part} / ({whole} > 0)"


def quantiles(metric: str, selector: str, labels: str = "", legend: str = "") -> tuple[Query, ...]:
    """The median, the 90th and the 99th percentile of a histogram."""
    by = f"le, {labels}" if labels else "le"
    buckets = per(by, rate(f"{metric}_bucket{{{selector}}}"))
    return tuple(
        Query(f"histogram_quantile({share_of}, {buckets})", f"{legend} {name}".strip())
        for name, share_of in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    )


def model(board: Dashboard) -> Board:
    """The dashboard as Grafana takes it."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(_others())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in board.variables:
        built.with_variable(_variable(variable))
    free_id = _FIRST_FREE_ID
    for row in board.rows:
        built.with_row(dashboard.Row(row.title).id(free_id))
        free_id += 1
        for panel in row.panels:
            built.with_panel(_panel(panel, panel.id or free_id))
            free_id += panel.id is None
    return cast("Board", json.loads(json.dumps(built.build(), cls=JSONEncoder)))


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Fusion Cluster").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True)


def _variable(variable: Variable) -> dashboard.QueryVariable:
    everything: Any = "$__all"
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(DATA_SOURCE)
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value=everything))
    )


def _panel(panel: Panel, panel_id: int) -> stat.Panel | timeseries.Panel:
    if panel.kind == "number":
        number = stat.Panel().height(4)
        return _filled(number, panel, panel_id).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    graph = _filled(timeseries.Panel(), panel, panel_id).height(8).min(0)
    if panel.stacked:
        graph = graph.fill_opacity(30).stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    return graph.legend(legend.display_mode(common_models.LegendDisplayMode.LIST))


def _filled(built: P, panel: Panel, panel_id: int) -> P:
    built.id(panel_id).title(panel.title).description(panel.description).unit(panel.unit).span(panel.width)
    built.datasource(DATA_SOURCE).targets([*_targets(panel.queries)])
    return built


def _targets(queries: Sequence[Query]) -> Iterator[prometheus.Dataquery]:
    for index, query in enumerate(queries):
        yield prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index)).range()
