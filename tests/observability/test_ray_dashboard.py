"""Ray's own dashboard on a running cluster, in a browser: it knows our deployments and embeds our panels."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml
from playwright.sync_api import Page, sync_playwright

from cluster.grafana.manifests import DASHBOARDS
from cluster.grafana.panels import model
from tests.serve.conftest import free_port

CHROMIUM = "/usr/bin/chromium"
PICTURE = "FUSION_PICTURE"
"""Where the picture is kept; in the test's own folder when it is not set."""
START_TIMEOUT_S = 120

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


class _Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that knows one answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}
        raw = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
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


@contextmanager
def _prometheus(folder: Path) -> Iterator[str]:
    folder.joinpath("prometheus.yml").write_text("scrape_configs: []\n")
    at = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = subprocess.Popen([*command, f"--web.listen-address={at}"], stderr=subprocess.DEVNULL)
    try:
        ends_at = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://{at}/-/ready", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < ends_at
                time.sleep(0.1)
        yield f"http://{at}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[str]:
    """Where Ray's dashboard is, of a service that knows of a Grafana and a Prometheus."""
    with _listening(_Upstream) as upstream, _listening(_Grafana) as grafana, _prometheus(tmp_path) as prometheus:
        config = {
            "backends": {"upstream": {"kind": "remote", "base_url": f"{upstream}/v1"}},
            "members": {name: {"backend": "upstream", "model": "m"} for name in ("claude", "gemini")},
            "presets": {"fusion/merge": {"mode": "merge", "panel": ["claude", "gemini"], "judge": "claude"}},
            "server": {"port": free_port()},
            "observability": {"grafana_host": grafana, "prometheus_host": prometheus},
        }
        file, log = tmp_path / "config.yaml", tmp_path / "log"
        file.write_text(yaml.safe_dump(config))
        env = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_GRAFANA", "RAY_PROMETHEUS"))}
        with log.open("w") as told:
            command = [sys.executable, "-m", "cluster.cli", "serve", "-c", str(file)]
            service = subprocess.Popen(command, stdout=told, stderr=told, env=env)
        try:
            ends_at = time.monotonic() + START_TIMEOUT_S
            while "ready http" not in log.read_text():
                assert service.poll() is None, log.read_text()
                assert time.monotonic() < ends_at, log.read_text()
                time.sleep(0.2)
            found = re.search(r"Ray's dashboard: (http://\S+)", log.read_text())
            assert found, log.read_text()
            yield found[1]
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(60)


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
