"""Every panel's query and every alert's expression, put to the real Prometheus of a service under load."""

from __future__ import annotations

import json

import pytest

from deployments.judge.metrics import REQUEST_METRICS
from tests.observability.conftest import Observed
from tests.observability.load import kept_up
from tests.observability.prometheus import NotPromQL, Prometheus
from tests.support.queries import of_alerts, of_panels

ELSEWHERE = (
    "fusion-overview: Recordings: dropped",  # that takes a disk that fails until thousands of requests wait
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


def test_every_panel_shows_what_the_load_makes(observed: Observed) -> None:
    wanted = [(where, query) for where, query in of_panels() if not where.startswith(ELSEWHERE)]
    with kept_up(observed.port):
        # A rate is there from a series' second sample on.
        empty = [where for where, query in wanted if not observed.prometheus.ask_until_data(query, 30)]
    assert empty == [], json.dumps(empty, indent=1)


@pytest.mark.parametrize(("alert", "query"), [*of_alerts()], ids=lambda value: value[:40])
def test_every_alert_has_something_to_look_at(prometheus: Prometheus, alert: str, query: str) -> None:
    assert prometheus.ask_until_data(query, 30), alert
