"""Every status that stands for an error, with each provider's own body for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from deployments.providers.base import Api
from fusion.errors import MemberOverloaded
from tests.faults.server import KEY, WAYS, Way, failure, member_at
from tests.remote.upstream import reply, upstream

# status, the error, and the provider's own code; none where what answers is a proxy that knows of no codes
STATUSES: list[tuple[int, str, dict[Api, str | None]]] = [
    (400, "rejected", {"openai": "invalid_value", "anthropic": "invalid_request_error", "gemini": "INVALID_ARGUMENT"}),
    (
        401,
        "unauthorized",
        {"openai": "invalid_api_key", "anthropic": "authentication_error", "gemini": "UNAUTHENTICATED"},
    ),
    (403, "unauthorized", {"openai": "forbidden", "anthropic": "permission_error", "gemini": "PERMISSION_DENIED"}),
    (404, "rejected", {"openai": "model_not_found", "anthropic": "not_found_error", "gemini": "NOT_FOUND"}),
    (408, "timeout", {"openai": None, "anthropic": None, "gemini": None}),
    (413, "rejected", {"openai": None, "anthropic": "request_too_large", "gemini": None}),
    (422, "rejected", {"openai": "invalid_request_error", "anthropic": "invalid_request_error", "gemini": None}),
    (
        429,
        "overloaded",
        {"openai": "rate_limit_exceeded", "anthropic": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"},
    ),
    (500, "unavailable", {"openai": "server_error", "anthropic": "api_error", "gemini": "INTERNAL"}),
    (502, "unavailable", {"openai": None, "anthropic": None, "gemini": None}),
    (503, "overloaded", {"openai": "server_error", "anthropic": None, "gemini": "UNAVAILABLE"}),
    (504, "timeout", {"openai": None, "anthropic": "timeout_error", "gemini": "DEADLINE_EXCEEDED"}),
    (529, "overloaded", {"openai": None, "anthropic": "overloaded_error", "gemini": None}),
]

_INDISCREET = f"You said 2+2? with the key {KEY}."


def refusal(way: Way, status: int, code: str | None, **headers: str) -> bytes:
    if code is None:
        page = f"<html><body>{_INDISCREET}</body></html>".encode()
        return reply(page, f"{status} No", content_type="text/html", **headers)
    body = json.dumps(way.provider.complaint(status, code, _INDISCREET)).encode()
    return reply(body, f"{status} No", **headers)


@pytest.mark.parametrize(("status", "error", "codes"), STATUSES, ids=[str(row[0]) for row in STATUSES])
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_status_is_the_right_error(
    way: Way, status: int, error: str, codes: dict[Api, str | None], key: Path
) -> None:
    code = codes[way.provider.api]
    async with upstream(refusal(way, status, code)) as server, member_at(server.url, way, key) as member:
        found = await failure(member, way)
        assert found.code == error
        assert found.message == f"HTTP {status}" + (f" ({code})" if code else "")
        if isinstance(found, MemberOverloaded):
            assert found.retry_after_s is None
        # An error that was read to its end leaves a connection that serves the next call.
        await failure(member, way)
        assert (server.connections, server.working) == (1, 0)


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_when_to_come_back(way: Way, status: int, as_date: bool, key: Path) -> None:
    after = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True) if as_date else "60"
    refused = refusal(way, status, "busy", retry_after=after)
    async with upstream(refused) as server, member_at(server.url, way, key) as member:
        error = await failure(member, way)
    assert isinstance(error, MemberOverloaded)
    assert error.retry_after_s == (pytest.approx(60, abs=5) if as_date else 60)
