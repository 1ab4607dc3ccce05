"""Every panel's query and every alert's expression, put to the real Prometheus of a service under load."""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.judge.metrics import REQUEST_METRICS
from tests.observability.prometheus import NotPromQL, Prometheus
from tests.observability.upstream import STALLS_AFTER, upstream
from tests.serve.conftest import free_port
from tests.serve.test_lifecycle import serving
from tests.support.queries import of_alerts, of_panels

QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
WITHIN_S = 60.0
AT_ONCE = 12
STATUSES = (200, 429, 502, 503)
ELSEWHERE = (
    "fusion-engines: ",  # there is no engine here: `test_engine` has one
    "fusion-overview: Traces: dropped",  # that takes a disk that fails until thousands of requests wait
    "fusion-judge: Failed calls by replica: ",  # outcomes travel as values: one that raises is a defect
)
"""What this load makes no series of."""


def _config(url: str, port: int, folder: Path) -> dict[str, Any]:
    price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
    backend = {"kind": "remote", "base_url": url}
    breaking = {**backend, "retries": {"attempts": 2}, "breaker": {"failures": 3, "cooldown_s": 600}}
    panel = {"panel": ["four", "five", "eve", "fails"], "quorum": 3, "deadline_s": 20, "agreement": {"short": False}}
    return {
        "backends": {
            "good": backend,
            "bad": breaking,
            "unsteady": {**backend, "breaker": {"failures": 1000}},
            "narrow": {**backend, "limits": {"concurrency": 1, "max_queued": 1}},
        },
        "members": {
            **{name: {"backend": "good", "model": name, "price": price} for name in ("four", "five", "eve")},
            **{name: {"backend": "good", "model": name, "price": price} for name in ("picks", "writes")},
            "fails": {"backend": "bad", "model": "fails"},
            "backed-up": {"backend": "bad", "model": "fails", "fallbacks": ["four"]},
            "stumbles": {"backend": "unsteady", "model": "stumbles"},
            "stalls": {"backend": "unsteady", "model": "stalls", "hedge": "four"},
            "dozes": {"backend": "good", "model": "dozes"},
            "narrow": {"backend": "narrow", "model": "dozes"},
        },
        "presets": {
            "fusion/best-of": {"mode": "best-of", "judge": ["writes", "picks"], **panel},
            "fusion/merge": {"mode": "merge", "judge": "writes", **panel},
            "fusion/agree": {"mode": "merge", "panel": ["four", "backed-up"], "quorum": 2, "judge": "writes"},
            "fusion/none": {"mode": "merge", "panel": ["fails"], "judge": "writes"},
        },
        "server": {"port": port},
        "judge": {"max_ongoing": AT_ONCE // 2, "max_queued": 1},
        "traces": {"path": str(folder / "traces")},
    }


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Generator[Prometheus]:
    folder = tmp_path_factory.mktemp("queries")
    port, metrics_port = free_port(), free_port()
    with upstream() as url:
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(_config(url, port, folder)))
        with serving(file, folder / "stderr", "--metrics", "--metrics-port", str(metrics_port)):
            found = Prometheus(f"http://127.0.0.1:{metrics_port}")
            _load(port)
            assert found.ask_until_data("ray_fusion_requests_total", WITHIN_S)
            _load(port)  # a rate needs a second sample that has grown
            assert found.ask_until_data("sum(rate(ray_fusion_requests_total[1m])) > 0", WITHIN_S)
            yield found


def _load(port: int) -> None:
    """Verdicts in two orders that disagree, from a judge's deputy; streams; agreement; stand-ins; a breaker that opens;
    no quorum; repetitions, until their budget is used up; a second call that wins; and more at once than a member and
    a judge take."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=30, trust_env=False) as client:
        for _ in range(4):
            for model in ("fusion/best-of", "fusion/merge", "fusion/agree", "fusion/none", "four"):
                for stream in (False, True):
                    body = {"model": model, "messages": QUESTION, "stream": stream}
                    assert client.post("/chat/completions", json=body).status_code in STATUSES, model

        def ask(model: str) -> int:
            return client.post("/chat/completions", json={"model": model, "messages": QUESTION}).status_code

        asked = [ask(model) for model in ("stumbles", "stalls") for _ in range(STALLS_AFTER + 1)]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for model in ("narrow", "dozes"):
                asked += threads.map(ask, [model] * AT_ONCE)
        assert {*asked} <= {*STATUSES}


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
    wanted = [(where, query) for where, query in of_panels() if not where.startswith(ELSEWHERE)]
    # A rate is there from a series' second sample on.
    empty = [where for where, query in wanted if not prometheus.ask_until_data(query, 30)]
    assert empty == [], json.dumps(empty, indent=1)


@pytest.mark.parametrize(("alert", "query"), [*of_alerts()], ids=lambda value: value[:40])
def test_every_alert_has_something_to_look_at(prometheus: Prometheus, alert: str, query: str) -> None:
    assert prometheus.ask_until_data(query, 30), alert
