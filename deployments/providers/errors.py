"""What went wrong at a remote API, in the words of `fusion.errors`.

An upstream's own error text may repeat a prompt or a key, so only its status and a short machine-readable code are
passed on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from deployments.providers.base import Complaint
from fusion.errors import (
    ContextExceeded,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)

CONTEXT_LENGTH_EXCEEDED = ContextExceeded.code
"""What is made of the many ways to say that a request is too long: OpenAI's own code."""


_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


_CONTEXT = re.compile(
    r"(maximum context length|context (length|window)|prompt is too long|too many tokens"
    r"|token count.{0,40}exceeds|exceeds? .{0,40}context|greater than max_model_len)",
    re.IGNORECASE,
)


_OVERLOADED = frozenset({429, 503, 529})


_UNAUTHORIZED = frozenset({401, 402, 403})


_TIMEOUTS = frozenset({408, 504})


def error_from_response(status: int, headers: Mapping[str, str], complaint: Complaint, member: str) -> MemberError:
    """The error that a response with a status other than 200 stands for."""
    after_s = retry_after_s(headers.get("retry-after"))
    kind = _kind(complaint, status)
    message = f"HTTP {status}" + (f" ({complaint.code})" if complaint.code else "")
    if 300 <= status < 400:
        message += ": redirects are refused"
    elif status < 300:
        message += " instead of 200"
    return _error(kind, message, member, complaint, status, after_s)


def error_from_complaint(complaint: Complaint, member: str | None = None) -> MemberError:
    """The error that stands in the place of an answer, in a response with the status 200 or in mid-stream."""
    kind = _kind(complaint, complaint.status or 500)
    message = "an error in place of the answer" + (f" ({complaint.code})" if complaint.code else "")
    return _error(kind, message, member, complaint, 200)


def error_from_exception(error: BaseException, member: str) -> MemberError:
    """The error that a failed exchange stands for."""
    # httpx-aiohttp calls every lost connection a timeout; what it was is in the cause.
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    name = type(cause).__name__
    broke_off = isinstance(cause, httpx.ReadError | aiohttp.ClientPayloadError | EOFError)
    if isinstance(cause, httpx.TimeoutException | aiohttp.ServerTimeoutError | TimeoutError):
        translated = MemberTimeout("no connection in time", member=member)
    elif not isinstance(cause, aiohttp.ClientConnectionError) and (broke_off or isinstance(cause, _NOT_HTTP)):
        what = "the reply broke off" if broke_off else "the reply is not valid HTTP"
        translated = MalformedReply(f"{what} ({name})", member=member)
    else:
        translated = MemberUnavailable(f"no connection ({name})", member=member)
    translated.connected = isinstance(translated, MalformedReply)
    return translated


_NOT_HTTP = (
    httpx.DecodingError,
    httpx.RemoteProtocolError,
    httpx.TooManyRedirects,
    httpx.CookieConflict,
    httpx.StreamError,
    aiohttp.ClientResponseError,
    HttpProcessingError,
)


def machine_code(*values: object) -> str | None:
    """The first of the values that is a short code, in letters, digits and `_.-`."""
    return next((value for value in values if isinstance(value, str) and _CODE.fullmatch(value)), None)


def says_too_long(message: object) -> bool:
    """Whether an error's text says that the request is longer than the model's context. For this most providers have no
    code of its own."""
    return isinstance(message, str) and _CONTEXT.search(message[:2000]) is not None


def retry_after_s(value: str | None) -> float | None:
    """Seconds until a call may be tried again, from a `Retry-After` header in either of its forms (RFC 9110)."""
    if value is None:
        return None
    digits = value.strip()
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        return float(digits)
    try:
        at = parsedate_to_datetime(value)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _kind(complaint: Complaint, status: int) -> type[MemberError]:
    kind = complaint.kind or _kind_of(status)
    # A limit on tokens a minute is complained of in much the same words.
    return ContextExceeded if kind is MemberRejected and complaint.code == CONTEXT_LENGTH_EXCEEDED else kind


def _kind_of(status: int) -> type[MemberError]:
    if status in _OVERLOADED:
        return MemberOverloaded
    if status in _UNAUTHORIZED:
        return MemberUnauthorized
    if status in _TIMEOUTS:
        return MemberTimeout
    if 400 <= status < 500:
        return MemberRejected
    return MalformedReply if status < 300 else MemberUnavailable


def _error(
    kind: type[MemberError],
    message: str,
    member: str | None,
    complaint: Complaint,
    status: int,
    after_s: float | None = None,
) -> MemberError:
    error = kind(message, member=member)
    if isinstance(error, MemberOverloaded):
        error.retry_after_s = complaint.retry_after_s if after_s is None else after_s
    error.http_status = status
    error.provider_code = complaint.code
    error.connected = True
    return error
