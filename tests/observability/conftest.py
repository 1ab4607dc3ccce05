"""One service for all tests here, with remote members, an engine, the real Prometheus, and Ray's dashboard."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from cluster.grafana.manifests import DASHBOARDS
from cluster.grafana.panels import model
from tests.observability import load
from tests.observability.prometheus import Prometheus
from tests.observability.upstream import upstream
from tests.serve.test_lifecycle import serving
from tests.support.collector import Collector, collecting
from tests.support.ports import free_port

WITHIN_S = 60.0
START_TIMEOUT_S = 900
"""An engine has to start."""
PANELS = {
    (board.uid, panel["id"]): panel
    for board in DASHBOARDS
    for panel in model(board)["panels"]
    if panel["type"] != "row"
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(START_TIMEOUT_S))


@dataclass(frozen=True)
class Observed:
    """What the service at `port` shows of itself after some load: its metrics, its spans, the address of Ray's
    dashboard."""

    port: int
    prometheus: Prometheus
    collector: Collector
    dashboard: str


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    file, log = folder / "config.yaml", folder / "log"
    port, metrics_port = free_port(), free_port()
    with (
        pytest.MonkeyPatch.context() as patch,
        upstream() as api,
        collecting() as collector,
        _listening(_Grafana) as grafana,
    ):
        for name in [name for name in os.environ if name.startswith(("RAY_GRAFANA", "RAY_PROMETHEUS"))]:
            patch.delenv(name)
        # Ray's default is ten seconds, for which every question about a metric would wait.
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        # A gauge that is set less often than Ray reports is missing from most scrapes.
        patch.setenv("RAY_SERVE_HAPROXY_METRICS_REPORT_INTERVAL_S", "0.5")
        config = load.config(api, port, folder, collector.url) | {
            "observability": {"grafana_host": grafana, "prometheus_host": f"http://127.0.0.1:{metrics_port}"}
        }
        file.write_text(yaml.safe_dump(config))
        with serving(file, log, "--metrics", "--metrics-port", str(metrics_port)):
            prometheus = Prometheus(f"http://127.0.0.1:{metrics_port}")
            _put_load(port, prometheus)
            found = re.search(r"Ray's dashboard: (http://\S+)", log.read_text())
            assert found, log.read_text()
            yield Observed(port, prometheus, collector, found[1])
        with pytest.raises(httpx.ConnectError):  # it ended with the service
            prometheus.ask("up")


def _put_load(port: int, prometheus: Prometheus) -> None:
    """Everything twice: a rate needs a second sample that has grown."""
    load.on_the_engine(port, *range(load.ENGINE_AT_ONCE))
    load.on_panels(port)
    load.on_the_engine(port, 0)
    for name in ("ray_fusion_requests_total", "ray_vllm_request_success_total"):
        assert prometheus.ask_until_data(name, WITHIN_S), name
    load.on_panels(port)
    load.on_the_engine(port, 0)
    assert prometheus.ask_until_data("sum(rate(ray_fusion_requests_total[1m])) > 0", WITHIN_S)


class _Grafana(BaseHTTPRequestHandler):
    """As much of Grafana as Ray's dashboard asks for: its health, and pages of single panels, by their names alone."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        status, kind, content = 404, "text/plain", "no such panel"
        if url.path == "/api/health":
            status, kind, content = 200, "application/json", json.dumps({"database": "ok", "version": "11.6.0"})
        elif url.path.startswith("/d-solo/"):
            panel = PANELS.get((url.path.split("/")[2], int(parse_qs(url.query)["panelId"][0])))
            if panel is not None:
                status, kind = 200, "text/html"
                content = f"<body style='font: 15px sans-serif'><b>{panel['title']}</b><p>{panel['description']}"
        raw = content.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def _listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
