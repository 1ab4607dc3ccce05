"""What a panel survives, and what it says of it."""

import time

import httpx
import pytest

from tests.serve.conftest import Served, ask


@pytest.mark.parametrize(
    ("broken", "status", "code"),
    [
        ("fails", "failed", "unavailable"),
        ("busy", "failed", "overloaded"),
        ("raises", "failed", "unavailable"),
        ("rubbish", "failed", "malformed_reply"),
        ("cut-off", "failed", "malformed_reply"),
        ("empty", "failed", "empty_completion"),
        ("hangs", "cancelled", None),
        ("stubborn", "cancelled", None),
    ],
)
def test_one_broken_member_never_fails_the_request(
    api: httpx.Client, broken: str, status: str, code: str | None
) -> None:
    options = {"panel": [broken, "four", "five"], "judge": "picks"}
    body = ask(api, "fusion/best-of", fusion=options).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "It is four."
    outcome = body["fusion"]["candidates"][0]
    assert (outcome["member"], outcome["status"]) == (broken, status)
    assert (outcome["error"] or {}).get("code") == code


def test_no_quorum_before_the_deadline(api: httpx.Client) -> None:
    options = {"panel": ["hangs", "four", "fails"], "quorum": 2, "deadline_s": 0.5}
    started = time.monotonic()
    response = ask(api, "fusion/merge", fusion=options)

    assert response.status_code == 504
    assert time.monotonic() - started < 3
    body = response.json()
    assert body["error"]["code"] == "no_quorum"
    outcomes = {candidate["member"]: candidate["status"] for candidate in body["fusion"]["candidates"]}
    assert outcomes == {"hangs": "cancelled", "four": "answered", "fails": "failed"}


def test_a_quorum_that_failures_put_out_of_reach_fails_at_once(api: httpx.Client) -> None:
    started = time.monotonic()
    response = ask(api, "fusion/merge", fusion={"panel": ["hangs", "fails", "busy"], "quorum": 2})

    assert response.status_code == 502
    assert time.monotonic() - started < 5
    assert response.json()["error"]["code"] == "no_quorum"


@pytest.mark.parametrize(
    ("member", "status", "code"),
    [("fails", 502, "unavailable"), ("rubbish", 502, "malformed_reply"), ("busy", 503, "overloaded")],
)
def test_a_plain_members_fault(api: httpx.Client, member: str, status: int, code: str) -> None:
    response = ask(api, member)

    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.headers.get("retry-after") == ("7" if member == "busy" else None)


@pytest.mark.parametrize("judge", ["fails", "mumbles", "empty"])
def test_the_next_judge_in_line_decides(served: Served, api: httpx.Client, judge: str) -> None:
    before = served.story("six")["asked"]
    body = ask(api, "fusion/best-of", fusion={"judge": [judge, "picks"], "quorum": 3}).raise_for_status().json()

    assert body["fusion"]["judge"] == "picks"
    assert body["fusion"]["degraded"].startswith(f"judge_replaced: {judge}")
    assert served.story("six")["asked"] == before + 1  # the panel is not asked again


@pytest.mark.parametrize("preset", ["fusion/best-of", "fusion/merge"])
def test_the_most_trusted_candidate_when_every_judge_fails(api: httpx.Client, preset: str) -> None:
    options = {"judge": ["fails", "raises"], "panel": ["six", "four"], "quorum": 2}
    body = ask(api, preset, fusion=options).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "Perhaps six."
    assert body["fusion"]["judge"] is None
    assert body["fusion"]["degraded"].startswith("judge_failed: fails (unavailable), raises (unavailable)")


def test_a_judge_that_hangs_costs_no_more_than_the_deadline(api: httpx.Client) -> None:
    started = time.monotonic()
    body = ask(api, "fusion/merge", fusion={"judge": "hangs", "deadline_s": 1}).raise_for_status().json()

    assert time.monotonic() - started < 4
    assert body["fusion"]["degraded"].startswith("judge_failed: hangs (timeout)")
