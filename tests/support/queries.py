"""Every query of every panel, and every alert's, as Prometheus is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster.config.monitoring import Objectives
from cluster.grafana.alerts import alerts
from cluster.grafana.manifests import DASHBOARDS


def of_panels() -> Iterator[tuple[str, str]]:
    """Where each is, and the query, with everything chosen that can be chosen."""
    for board in DASHBOARDS:
        for panel in board.panels():
            for query in panel.queries:
                yield f"{board.uid}: {panel.title}: {query.legend}", chosen(query.expr)


def of_alerts() -> Iterator[tuple[str, str]]:
    """Each alert's name and query."""
    for alert in alerts(Objectives()):
        yield alert.name, alert.expr


def everything() -> list[str]:
    return [query for _, query in (*of_panels(), *of_alerts())]


def chosen(expr: str) -> str:
    """What Grafana makes of an expression when all of every variable is chosen."""
    return re.sub(r"\$[A-Za-z]+", ".*", expr.replace("$__rate_interval", "1m"))
