"""Images and long histories through HTTP: who cannot take them is left out, reported, and never asked."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.serve.conftest import Served, ask

_PICTURE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]
_IMAGES: dict[str, Any] = {"messages": [{"role": "user", "content": _PICTURE}]}
_LONG: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 2 + 2? " * 1000}]}


@pytest.mark.parametrize(
    ("member", "request_body", "code"),
    [("unseeing", _IMAGES, "images_not_supported"), ("forgetful", _LONG, "context_length_exceeded")],
)
def test_a_member_that_cannot_take_it_is_left_out(
    api: httpx.Client, served: Served, member: str, request_body: dict[str, Any], code: str
) -> None:
    before = served.story(member)
    options = {"panel": ["four", member, "five"], "quorum": 2}
    body = ask(api, "fusion/best-of", fusion=options, **request_body).raise_for_status().json()
    outcomes = {each["member"]: each for each in body["fusion"]["candidates"]}
    assert {name: each["status"] for name, each in outcomes.items()} == {
        "four": "answered",
        "five": "answered",
        member: "failed",
    }
    assert outcomes[member]["error"]["code"] == code
    assert outcomes[member]["latency_ms"] == 0
    assert body["fusion"]["degraded"] is None
    assert served.story(member) == before, "it was not asked"


@pytest.mark.parametrize(
    ("member", "request_body", "code"),
    [("unseeing", _IMAGES, "images_not_supported"), ("forgetful", _LONG, "context_length_exceeded")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_where_nobody_can_take_it_the_request_is_refused(
    api: httpx.Client, member: str, request_body: dict[str, Any], code: str, stream: bool
) -> None:
    for reply in (
        ask(api, "fusion/merge", fusion={"panel": [member]}, stream=stream, **request_body),
        ask(api, "fusion/merge", fusion={"panel": ["four", member], "quorum": 2}, stream=stream, **request_body),
        ask(api, member, stream=stream, **request_body),
    ):
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, "messages")
        assert "2 + 2" not in error["message"]


def test_a_judge_model_that_takes_no_images_is_named(api: httpx.Client) -> None:
    options = {"panel": ["four", "five"], "quorum": 2, "judge": "unseeing"}
    body = ask(api, "fusion/merge", fusion=options, **_IMAGES).raise_for_status().json()
    assert body["choices"][0]["message"]["content"] == "I see four."
    assert body["fusion"]["fit"] == {"shortened": [], "without_images": ["unseeing"]}


def test_models_say_what_they_take(api: httpx.Client) -> None:
    about = {each["id"]: each["fusion"] for each in api.get("/v1/models").json()["data"]}
    assert (about["unseeing"]["images"], about["four"]["images"]) == (False, True)
    assert (about["forgetful"]["context_tokens"], about["four"]["context_tokens"]) == (2000, None)
