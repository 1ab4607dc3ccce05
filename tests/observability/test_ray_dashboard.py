"""Ray's own dashboard on a running cluster, in a browser: it knows our deployments and embeds our panels."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from playwright.sync_api import Page, sync_playwright

from cluster.grafana.manifests import DASHBOARDS
from cluster.grafana.panels import model
from tests.observability.upstream import upstream
from tests.serve.conftest import free_port
from tests.serve.test_lifecycle import serving

CHROMIUM = "/usr/bin/chromium"
PICTURE = "FUSION_PICTURE"
"""Where the picture is kept; in the test's own folder when it is not set."""

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed: Debian has it"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed: Debian has it"),
]
_PANELS = {
    (board.uid, panel["id"]): panel
    for board in DASHBOARDS
    for panel in model(board)["panels"]
    if panel["type"] != "row"
}


class _Grafana(BaseHTTPRequestHandler):
    """As much of Grafana as Ray's dashboard asks for: its health, and pages of single panels, by their names alone."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        status, kind, content = 404, "text/plain", "no such panel"
        if url.path == "/api/health":
            status, kind, content = 200, "application/json", json.dumps({"database": "ok", "version": "11.6.0"})
        elif url.path.startswith("/d-solo/"):
            panel = _PANELS.get((url.path.split("/")[2], int(parse_qs(url.query)["panelId"][0])))
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


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where Ray's dashboard is, of a service that knows of a Grafana and a Prometheus."""
    for name in [name for name in os.environ if name.startswith(("RAY_GRAFANA", "RAY_PROMETHEUS"))]:
        monkeypatch.delenv(name)
    metrics_port = free_port()
    with upstream() as api, _listening(_Grafana) as grafana:
        config = {
            "backends": {"upstream": {"kind": "remote", "base_url": api}},
            "members": {name: {"backend": "upstream", "model": "four"} for name in ("claude", "gemini")},
            "presets": {"fusion/merge": {"mode": "merge", "panel": ["claude", "gemini"], "judge": "claude"}},
            "server": {"port": free_port()},
            "observability": {"grafana_host": grafana, "prometheus_host": f"http://127.0.0.1:{metrics_port}"},
        }
        file, log = tmp_path / "config.yaml", tmp_path / "log"
        file.write_text(yaml.safe_dump(config))
        with serving(file, log, "--metrics", "--metrics-port", str(metrics_port)):
            found = re.search(r"Ray's dashboard: (http://\S+)", log.read_text())
            assert found, log.read_text()
            yield found[1]


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1400, "height": 1250})
        browser.close()


def _enter(page: Page) -> None:
    """Show the token that Ray gave the cluster, as `ray get-auth-token` prints it."""
    token = (Path.home() / ".ray" / "auth_token").read_text().strip()
    page.get_by_label("Authentication Token").last.fill(token)
    page.get_by_role("button", name="Submit").click()


def test_the_serve_page_knows_our_deployments_and_embeds_our_panels(dashboard: str, page: Page, tmp_path: Path) -> None:
    page.goto(f"{dashboard}/#/serve")
    _enter(page)
    page.get_by_text("fusion", exact=True).first.wait_for()
    page.locator("iframe").nth(2).wait_for(state="attached", timeout=60_000)
    embedded = [urlsplit(frame.get_attribute("src") or "") for frame in page.locator("iframe").all()]
    panels = {(each.path.split("/")[2], int(parse_qs(each.query)["panelId"][0])) for each in embedded}
    assert {("fusion-overview", 7), ("fusion-overview", 8), ("fusion-overview", 15)} <= panels
    assert all(parse_qs(each.query)["var-datasource"] == ["Prometheus"] for each in embedded)
    assert page.frame_locator("iframe").first.get_by_text("Fused requests by preset").text_content()
    page.locator("button[aria-label], td button").first.click()
    for name in ("judge", "member:claude", "member:gemini"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.screenshot(path=os.environ.get(PICTURE) or tmp_path / "ray-dashboard.png")
