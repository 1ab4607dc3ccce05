"""Every panel's query and every alert's expression, put to the real Prometheus of a service under load."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import httpx
import pytest
import yaml

from deployments.request_metrics import REQUEST_METRICS
from tests.observability.prometheus import NotPromQL, Prometheus
from tests.observability.upstream import upstream
from tests.queries import of_alerts, of_panels
from tests.serve.conftest import free_port
from tests.serve.test_lifecycle import serving

QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
WITHIN_S = 60.0
ELSEWHERE = (
    "fusion-engines",  # there is no engine here
    "fusion-overview: Traces: ",  # nothing is recorded
    "fusion-members: Second calls: ",
    "fusion-members: Budgets: {{member}} second calls",
    "fusion-members: Refused by a limit: ",
    "fusion-members: Retries: ",
    "fusion-members: Waited for a turn: ",
    "fusion-judge: Refused: ",
)
"""What this load makes no series of, or one that ends before its rate is asked for: engines, records, second calls,
repetitions before the breaker opened, and what waits or is refused when there is too much."""


def _config(url: str, port: int) -> dict[str, Any]:
    price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
    backend = {"kind": "remote", "base_url": url}
    breaking = {**backend, "retries": {"attempts": 2}, "breaker": {"failures": 3, "cooldown_s": 600}}
    panel = {"panel": ["four", "five", "eve", "fails"], "quorum": 3, "deadline_s": 20, "agreement": {"short": False}}
    return {
        "backends": {"good": backend, "bad": breaking},
        "members": {
            **{name: {"backend": "good", "model": name, "price": price} for name in ("four", "five", "eve")},
            **{name: {"backend": "good", "model": name, "price": price} for name in ("picks", "writes")},
            "fails": {"backend": "bad", "model": "fails"},
            "backed-up": {"backend": "bad", "model": "fails", "fallbacks": ["four"]},
        },
        "presets": {
            "fusion/best-of": {"mode": "best-of", "judge": ["writes", "picks"], **panel},
            "fusion/merge": {"mode": "merge", "judge": "writes", **panel},
            "fusion/agree": {"mode": "merge", "panel": ["four", "backed-up"], "quorum": 2, "judge": "writes"},
            "fusion/none": {"mode": "merge", "panel": ["fails"], "judge": "writes"},
        },
        "server": {"port": port},
    }


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Generator[Prometheus]:
    folder = tmp_path_factory.mktemp("queries")
    port, metrics_port = free_port(), free_port()
    with upstream() as url:
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(_config(url, port)))
        with serving(file, folder / "stderr", "--metrics", "--metrics-port", str(metrics_port)):
            found = Prometheus(f"http://127.0.0.1:{metrics_port}")
            _load(port)
            assert found.ask_until_data("ray_fusion_requests_total", WITHIN_S)
            _load(port)  # a rate needs a second sample that has grown
            assert found.ask_until_data("sum(rate(ray_fusion_requests_total[1m])) > 0", WITHIN_S)
            yield found


def _load(port: int) -> None:
    """Verdicts in two orders that disagree, from a judge's deputy; streams; agreement; stand-ins; a breaker that opens;
    and no quorum."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=30, trust_env=False) as client:
        for _ in range(4):
            for model in ("fusion/best-of", "fusion/merge", "fusion/agree", "fusion/none", "four"):
                for stream in (False, True):
                    body = {"model": model, "messages": QUESTION, "stream": stream}
                    assert client.post("/chat/completions", json=body).status_code in (200, 502, 503), model


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
