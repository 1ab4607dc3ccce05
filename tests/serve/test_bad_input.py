"""What bad input gets: the right status, and an OpenAI error that names the field."""

import json
from typing import Any

import httpx
import pytest

from tests.serve.conftest import KEY, Served, ask

USER = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"messages": [USER]}, "model", "required"),
        ({"model": "fusion/merge"}, "messages", "required"),
        ({"model": "fusion/merge", "messages": []}, "messages", "at least 1"),
        ({"model": "fusion/merge", "messages": "hello"}, "messages", "valid array"),
        ({"model": "fusion/merge", "messages": [{"role": "user"}]}, "messages[0]", "needs content"),
        ({"model": "fusion/merge", "messages": [USER, {"role": "robot", "content": ""}]}, "messages[1].role", "user"),
        ({"model": "fusion/merge", "messages": [{"role": "user", "content": 7}]}, "messages[0].content", "string"),
        (
            {"model": "fusion/merge", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "required",
        ),
        ({"model": "fusion/merge", "messages": [USER], "temperature": 9}, "temperature", "less than or equal to 2"),
        ({"model": "fusion/merge", "messages": [USER], "n": 2}, "n", "must be 1"),
        ({"model": "fusion/merge", "messages": [USER], "logprobs": True}, "logprobs", "not available"),
        ({"model": "fusion/merge", "messages": [USER], "temprature": 1}, "temprature", "did you mean temperature?"),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"pannel": []}}, "fusion.pannel", "mean panel?"),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"panel": []}}, "fusion.panel", "at least 1"),
        (
            {"model": "fusion/merge", "messages": [USER], "fusion": {"panel": ["x"]}},
            "fusion.panel[0]",
            "known are four",
        ),
        (
            {"model": "fusion/merge", "messages": [USER], "fusion": {"panel": ["four", "four"]}},
            "fusion.panel[1]",
            "twice",
        ),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"judge": "x"}}, "fusion.judge[0]", "no member"),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"quorum": 4}}, "fusion.quorum", "larger panel"),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"rounds": 2}}, "fusion.rounds", "debate"),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"deadline_s": 0}}, "fusion.deadline_s", "greater"),
        ({"model": "fusion/merge", "messages": [USER], "fusion": {"mode": "vote"}}, "fusion.mode", "best-of"),
        ({"model": "four", "messages": [USER], "fusion": {"mode": "merge"}}, "fusion", "is a member"),
        ({"model": "fusion/merge", "messages": [USER], "tool_choice": "auto"}, "tool_choice", "needs tools"),
    ],
)
def test_a_bad_field_is_named(api: httpx.Client, body: dict[str, Any], param: str, says: str) -> None:
    response = api.post("/v1/chat/completions", json=body)

    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 50_000])
def test_a_body_that_is_no_json_object(api: httpx.Client, content: bytes) -> None:
    response = api.post("/v1/chat/completions", content=content)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"


def test_an_unknown_model_gets_the_known_ones(api: httpx.Client) -> None:
    response = ask(api, "gpt-7")

    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "fusion/merge" in error["message"]
    assert "four" in error["message"]


def test_a_body_over_the_limit(api: httpx.Client) -> None:
    response = ask(api, "fusion/merge", messages=[{"role": "user", "content": "x" * 100_001}])

    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_unknown_paths_and_methods(api: httpx.Client) -> None:
    assert api.get("/v1/nothing").status_code == 404
    wrong_method = api.get("/v1/chat/completions")
    assert wrong_method.status_code == 405
    assert "error" in wrong_method.json()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}])
def test_a_wrong_key(served: Served, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=f"{served.url}/keyed", headers=headers, timeout=30) as client:
        for response in (ask(client, "four", path="v1/chat/completions"), client.get("v1/models")):
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert KEY not in response.text
        assert client.get("healthz").status_code == 200


def test_a_right_key(served: Served) -> None:
    with httpx.Client(base_url=f"{served.url}/keyed", headers={"authorization": f"Bearer {KEY}"}, timeout=30) as client:
        assert ask(client, "four", path="v1/chat/completions").status_code == 200


def test_an_error_repeats_nothing_of_the_prompt(api: httpx.Client) -> None:
    secret = "my-diary-entry"
    messages = [{"role": "user", "content": secret}]
    responses = [
        api.post("/v1/chat/completions", json={"model": "fusion/merge", "messages": messages, "temperature": secret}),
        api.post("/v1/chat/completions", content=json.dumps({"messages": messages})[:-3]),
        ask(api, "fusion/merge", messages=messages, fusion={"panel": ["raises"], "quorum": 1}),
    ]
    assert all(response.status_code >= 400 for response in responses)
    assert all(secret not in response.text and "a secret prompt" not in response.text for response in responses)
