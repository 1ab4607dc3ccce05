"""Panels of several providers, of which some are dead or slow: what comes back, how soon, and who is left out."""

import time

import httpx
import pytest

from tests.serve.conftest import Served, ask, series

PATH = "v1/chat/completions"


@pytest.fixture
def remote(served: Served):
    with httpx.Client(base_url=f"{served.url}/remote", timeout=30) as client:
        yield client


def outcomes(remote: httpx.Client) -> dict[str, dict]:
    """Every candidate of a panel with a dead, a stalling and a healthy provider, which answers as soon as the healthy
    one's time and the grace for the others are over."""
    fusion = ask(remote, "fusion/quorum-of-one", PATH).raise_for_status().json()["fusion"]
    candidates = {candidate["member"]: candidate for candidate in fusion["candidates"]}
    assert candidates["healthy"]["status"] == "answered"
    assert fusion["timings_ms"]["total"] < 1.5 * candidates["healthy"]["latency_ms"] + 500
    assert fusion["degraded"] == "single_candidate: healthy"
    return candidates


def test_a_dead_and_a_slow_provider_cost_no_more_than_the_grace(remote: httpx.Client) -> None:
    candidates = outcomes(remote)
    assert (candidates["dead"]["status"], candidates["stalled"]["status"]) == ("failed", "cancelled")
    assert candidates["dead"]["error"]["code"] in ("unavailable", "breaker_open")

    for _ in range(3):
        ask(remote, "dead", PATH)
    state = remote.get("readyz").json()
    assert state["members"]["dead"] == {"ready": False, "breaker": "open"}
    assert state["members"]["healthy"] == {"ready": True, "breaker": "closed"}
    assert state["members"]["stalled"]["ready"]
    assert state["presets"]["fusion/quorum-of-one"]["ready"]
    assert not state["presets"]["fusion/dead"]["ready"]

    dead = outcomes(remote)["dead"]
    assert dead["error"]["code"] == "breaker_open"
    assert dead["latency_ms"] < 500


def test_a_stand_ins_answer_is_reported_and_priced_as_its_own(remote: httpx.Client) -> None:
    fusion = ask(remote, "fusion/backed-up", PATH).raise_for_status().json()["fusion"]
    (candidate,) = fusion["candidates"]
    assert (candidate["member"], candidate["answered_by"], candidate["status"]) == ("backed-up", "priced", "answered")
    assert candidate["cost_usd"] == fusion["cost_usd"] == pytest.approx((10 * 1.0 + 3 * 2.0) / 1e6)


def test_a_panel_can_be_convened_of_stand_ins(remote: httpx.Client) -> None:
    for _ in range(3):
        ask(remote, "backed-up", PATH).raise_for_status()
    state = remote.get("readyz").json()
    assert state["members"]["backed-up"] == {"ready": False, "breaker": "open"}
    assert state["presets"]["fusion/backed-up"]["ready"]


def test_a_plain_call_tells_who_stood_in(remote: httpx.Client) -> None:
    body = ask(remote, "backed-up", PATH).raise_for_status().json()
    assert body["choices"][0]["message"]["content"] == "Perhaps six."
    assert body["fusion"] == {"answered_by": "priced"}
    assert "fusion" not in ask(remote, "priced", PATH).json()
    assert '"fusion":{"answered_by":"priced"}' in ask(remote, "backed-up", PATH, stream=True).text


def test_what_the_wrappers_do_can_be_scraped(remote: httpx.Client) -> None:
    ask(remote, "backed-up", PATH).raise_for_status()
    deadline = time.monotonic() + 30
    while not series("fusion_member_fallbacks_answered_total", "backed-up") and time.monotonic() < deadline:
        time.sleep(0.5)
    assert series("fusion_member_fallbacks_answered_total", "backed-up") > 0
    assert series("fusion_member_breaker_state", "healthy") == 0
    assert series("fusion_member_breaker_state", "no such member") is None
