"""Every panel's query and every alert's expression, put to the real Prometheus of a service under load."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.judge.metrics import REQUEST_METRICS
from tests.observability.conftest import Observed
from tests.observability.load import kept_on_the_engine
from tests.observability.prometheus import NotPromQL, Prometheus
from tests.support.queries import of_alerts, of_panels

ENGINES = "fusion-engines: "
ELSEWHERE = (
    "fusion-overview: Traces: dropped",  # that takes a disk that fails until thousands of requests wait
    "fusion-judge: Failed calls by replica: ",  # outcomes travel as values: one that raises is a defect
)
"""What this load makes no series of."""


@pytest.fixture
def prometheus(observed: Observed) -> Prometheus:
    return observed.prometheus


@pytest.mark.parametrize(("where", "query"), [*of_panels(), *of_alerts()], ids=lambda value: value[:60])
def test_every_query_parses(prometheus: Prometheus, where: str, query: str) -> None:
    prometheus.ask(query)


def test_what_is_no_query_is_told_from_one_without_data(prometheus: Prometheus) -> None:
    with pytest.raises(NotPromQL):
        prometheus.ask("sum(")
    assert prometheus.ask("nothing_of_this_name") == []


def test_every_metric_of_requests_is_there(prometheus: Prometheus) -> None:
    names = [f"ray_{each.name}{'_count' if each.kind == 'histogram' else ''}" for each in REQUEST_METRICS]
    missing = [name for name in names if not prometheus.ask_until_data(name, 15)]
    assert missing == []


def test_every_panel_shows_what_the_load_made(prometheus: Prometheus) -> None:
    assert without_data(prometheus, lambda where: not where.startswith((ENGINES, *ELSEWHERE))) == []


def test_every_panel_of_engines_shows_what_the_load_makes(observed: Observed) -> None:
    with kept_on_the_engine(observed.port):
        assert without_data(observed.prometheus, lambda where: where.startswith(ENGINES)) == []


def without_data(prometheus: Prometheus, wanted: Callable[[str], bool]) -> list[str]:
    """The panels' queries that have no data in half a minute: a rate is there from a series' second sample on."""
    return [where for where, query in of_panels() if wanted(where) and not prometheus.ask_until_data(query, 30)]


@pytest.mark.parametrize(("alert", "query"), [*of_alerts()], ids=lambda value: value[:40])
def test_every_alert_has_something_to_look_at(prometheus: Prometheus, alert: str, query: str) -> None:
    assert prometheus.ask_until_data(query, 30), alert
