"""What went wrong at a remote API, in the words of `fusion.errors`.

An upstream's own error text may repeat a prompt or a key, so only its status and a short machine-readable code are
passed on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import aiohttp
import httpx

from fusion.errors import (
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_OVERLOADED = frozenset({429, 503, 529})
_UNAUTHORIZED = frozenset({401, 402, 403})
_TIMEOUTS = frozenset({408, 504})


def error_from_response(status: int, headers: Mapping[str, str], content: bytes, member: str) -> MemberError:
    """The error that a response with a status other than 200 stands for."""
    code = _upstream_code(content)
    message = f"HTTP {status}" + (f" ({code})" if code else "")
    if status in _OVERLOADED:
        return MemberOverloaded(message, member=member, retry_after_s=retry_after_s(headers.get("retry-after")))
    if status in _UNAUTHORIZED:
        return MemberUnauthorized(message, member=member)
    if status in _TIMEOUTS:
        return MemberTimeout(message, member=member)
    if 300 <= status < 400:
        return MemberUnavailable(f"{message}: redirects are refused", member=member)
    if 400 <= status < 500:
        return MemberRejected(message, member=member)
    if status < 300:
        return MalformedReply(f"{message} instead of 200", member=member)
    return MemberUnavailable(message, member=member)


def error_from_exception(error: Exception, member: str) -> MemberError:
    """The error that a failed exchange stands for."""
    refused = isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ServerDisconnectedError)
    if isinstance(error, httpx.TimeoutException) and not refused:
        return MemberTimeout("no connection in time", member=member)
    if isinstance(error, httpx.DecodingError | httpx.ReadError | aiohttp.ClientPayloadError):
        return MalformedReply(f"the reply broke off ({type(error).__name__})", member=member)
    return MemberUnavailable(f"no connection ({type(error).__name__})", member=member)


def retry_after_s(value: str | None) -> float | None:
    """Seconds until a call may be tried again, from a `Retry-After` header in either of its forms (RFC 9110)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _upstream_code(content: bytes) -> str | None:
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    error = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    named = cast("dict[str, Any]", error)
    for value in (named.get("code"), named.get("type"), named.get("status")):
        if isinstance(value, str) and _CODE.fullmatch(value):
            return value
    return None
