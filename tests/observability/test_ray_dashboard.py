"""Ray's own dashboard on a running cluster, in a browser: it knows our deployments and embeds our panels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.observability.conftest import Observed

CHROMIUM = "/usr/bin/chromium"
PICTURE = "FUSION_PICTURE"
"""Where the picture is kept; in the test's own folder when it is not set."""

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed: Debian has it"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed: Debian has it"),
]


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


def test_the_serve_page_knows_our_deployments_and_embeds_our_panels(
    observed: Observed, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{observed.dashboard}/#/serve")
    _enter(page)
    page.get_by_text("fusion", exact=True).first.wait_for()
    page.locator("iframe").nth(2).wait_for(state="attached", timeout=60_000)
    embedded = [urlsplit(frame.get_attribute("src") or "") for frame in page.locator("iframe").all()]
    panels = {(each.path.split("/")[2], int(parse_qs(each.query)["panelId"][0])) for each in embedded}
    assert {("fusion-overview", 7), ("fusion-overview", 8), ("fusion-overview", 15)} <= panels
    assert all(parse_qs(each.query)["var-datasource"] == ["Prometheus"] for each in embedded)
    assert page.frame_locator("iframe").first.get_by_text("Fused requests by preset").text_content()
    page.locator("button[aria-label], td button").first.click()
    for name in ("judge", "remote:good", "vllm:smollm2"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.screenshot(path=os.environ.get(PICTURE) or tmp_path / "ray-dashboard.png")
