"""Remote members against a real OpenAI-compatible server: this project's own."""

import httpx
import pytest

from tests.serve.conftest import Served, ask


@pytest.fixture
def remote(served: Served):
    with httpx.Client(base_url=f"{served.url}/remote", timeout=30) as client:
        yield client


def test_a_panel_of_remote_members_with_one_dead(remote: httpx.Client) -> None:
    body = ask(remote, "fusion/merge", path="v1/chat/completions").raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "All things considered: four ✓"
    outcomes = {candidate["member"]: candidate for candidate in body["fusion"]["candidates"]}
    assert outcomes["dead"]["status"] != "answered"
    assert outcomes["four"]["usage"] == {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def test_a_dead_upstream(remote: httpx.Client) -> None:
    response = ask(remote, "dead", path="v1/chat/completions")

    assert response.status_code in (502, 503)
    assert response.json()["error"]["code"] in ("unavailable", "breaker_open")


def test_a_verdict_by_a_remote_judge(remote: httpx.Client) -> None:
    body = ask(remote, "fusion/best-of", path="v1/chat/completions").raise_for_status().json()

    assert body["fusion"]["verdict"]["winner"] == "four"


def test_a_remote_member_streams(remote: httpx.Client) -> None:
    response = ask(remote, "writes", path="v1/chat/completions", stream=True)

    assert response.text.count('"delta":{"content"') >= 4
    assert response.text.endswith("data: [DONE]\n\n")


def test_tool_calls_survive_the_way(remote: httpx.Client) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    for stream in (False, True):
        response = ask(remote, "tools", path="v1/chat/completions", tools=tools, stream=stream)
        assert '"arguments":"{\\"city\\": \\"Oslo\\"}"' in response.text
        assert '"finish_reason":"tool_calls"' in response.text


def test_cost_is_measured_usage_times_price(remote: httpx.Client) -> None:
    options = {"panel": ["priced"], "quorum": 1}
    body = ask(remote, "fusion/merge", path="v1/chat/completions", fusion=options).raise_for_status().json()

    assert body["fusion"]["cost_usd"] == pytest.approx((10 * 1.0 + 3 * 2.0) / 1e6)


def test_an_upstreams_refusal(remote: httpx.Client) -> None:
    response = ask(remote, "missing", path="v1/chat/completions")

    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "HTTP 404 (model_not_found)",
        "type": "invalid_request_error",
        "param": None,
        "code": "rejected",
    }
