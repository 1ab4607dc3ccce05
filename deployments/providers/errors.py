"""Translates the failures of remote APIs into the errors of `fusion.errors`.

An API's own error text may repeat a prompt or a key, so only its HTTP status and a short machine-readable code are
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

from deployments.providers.base import ErrorDetails
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
"""OpenAI's code for a request that is too long. It stands for every provider's way to say so."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

_CONTEXT = re.compile(
    r"(maximum context length|context (length|window)|prompt is too long|too many tokens"
    r"|token count.{0,40}exceeds|exceeds? .{0,40}context|greater than max_model_len)",
    re.IGNORECASE,
)

_OVERLOADED = frozenset({429, 503, 529})
_UNAUTHORIZED = frozenset({401, 402, 403})
_TIMEOUTS = frozenset({408, 504})


def error_from_response(status: int, headers: Mapping[str, str], details: ErrorDetails, member: str) -> MemberError:
    """Returns the error that a response with a status other than 200 stands for."""
    after_s = retry_after_s(headers.get("retry-after"))
    kind = _kind(details, status)
    message = f"HTTP {status}" + (f" ({details.code})" if details.code else "")
    if 300 <= status < 400:
        message += ": redirects are refused"
    elif status < 300:
        message += " instead of 200"
    return _error(kind, message, member, details, status, after_s)


def error_from_details(details: ErrorDetails, member: str | None = None) -> MemberError:
    """Returns the error that stands in place of the answer: in a response with the status 200, or in mid-stream."""
    kind = _kind(details, details.status or 500)
    message = "an error in place of the answer" + (f" ({details.code})" if details.code else "")
    return _error(kind, message, member, details, 200)


def error_from_exception(error: BaseException, member: str) -> MemberError:
    """Translates an exception of httpx or aiohttp."""
    # httpx-aiohttp reports every lost connection as a timeout; the cause tells them apart.
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    name = type(cause).__name__
    broke_off = isinstance(cause, httpx.ReadError | aiohttp.ClientPayloadError | EOFError)
    if isinstance(cause, httpx.TimeoutException | aiohttp.ServerTimeoutError | TimeoutError):
        translated = MemberTimeout("no connection in time", member=member)
    elif not isinstance(cause, aiohttp.ClientConnectionError) and (broke_off or isinstance(cause, _NOT_HTTP)):
        what = "the reply broke off" if broke_off else "the reply is not HTTP"
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
    """Returns the first of the values that is a short code of letters, digits and `_.-`, None when none is."""
    return next((value for value in values if isinstance(value, str) and _CODE.fullmatch(value)), None)


def says_too_long(message: object) -> bool:
    """Whether an error's text says that the request is longer than the model's context. Most providers have no code for
    this."""
    return isinstance(message, str) and _CONTEXT.search(message[:2000]) is not None


def retry_after_s(value: str | None) -> float | None:
    """Parses a `Retry-After` header in either of its forms (RFC 9110) into seconds from now; None if it is neither."""
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


def _kind(details: ErrorDetails, status: int) -> type[MemberError]:
    kind = details.kind or _kind_of(status)
    # An error about tokens per minute is worded much the same, but is not a `MemberRejected`.
    return ContextExceeded if kind is MemberRejected and details.code == CONTEXT_LENGTH_EXCEEDED else kind


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
    details: ErrorDetails,
    status: int,
    after_s: float | None = None,
) -> MemberError:
    error = kind(message, member=member)
    if isinstance(error, MemberOverloaded):
        error.retry_after_s = details.retry_after_s if after_s is None else after_s
    error.http_status = status
    error.provider_code = details.code
    error.connected = True
    return error
