"""What goes wrong at a remote API, in the words of this project."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import ModuleType
from typing import Any

import aiohttp
import aiohttp.client_exceptions
import aiohttp.http_exceptions
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.egress.errors import FOREIGN_ERRORS
from deployments.providers.base import ErrorDetails
from deployments.providers.errors import (
    error_from_details,
    error_from_exception,
    error_from_response,
    machine_code,
    retry_after_s,
    says_too_long,
)
from fusion.errors import (
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)

# Of web sockets, and of reading a stream by hand.
NOT_USED_HERE = {"WebSocketError", "WSServerHandshakeError", "WSMessageTypeError", "EofStream"}


def exceptions_of(module: ModuleType) -> Iterator[type[Exception]]:
    for name, value in inspect.getmembers(module, inspect.isclass):
        of_its_own = value.__module__.split(".")[0] == module.__name__.split(".")[0]
        if of_its_own and issubclass(value, Exception) and not issubclass(value, Warning) and name not in NOT_USED_HERE:
            yield value


FOREIGN = sorted(
    {
        *exceptions_of(httpx),
        *exceptions_of(aiohttp),
        *exceptions_of(aiohttp.client_exceptions),
        *exceptions_of(aiohttp.http_exceptions),
    },
    key=lambda kind: (kind.__module__, kind.__qualname__),
)


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_every_exception_of_httpx_and_aiohttp_is_translated(kind: type[Exception]) -> None:
    assert issubclass(kind, FOREIGN_ERRORS)
    translated = error_from_exception(kind.__new__(kind), "ada")
    assert isinstance(translated, MemberTimeout | MemberUnavailable | MalformedReply)
    assert translated.member == "ada"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(), MemberUnavailable),
        (ssl.SSLCertVerificationError(), MemberUnavailable),
        (TimeoutError(), MemberTimeout),
        (asyncio.IncompleteReadError(b"", 1), MalformedReply),
        (httpx.ConnectError("x"), MemberUnavailable),
        (httpx.ConnectTimeout("x"), MemberTimeout),
        (httpx.ReadError("x"), MalformedReply),
        (httpx.RemoteProtocolError("x"), MalformedReply),
        (httpx.UnsupportedProtocol("x"), MemberUnavailable),
        (aiohttp.ServerDisconnectedError(), MemberUnavailable),
        (aiohttp.ClientPayloadError(), MalformedReply),
        (aiohttp.ConnectionTimeoutError(), MemberTimeout),
        (aiohttp.ClientOSError(104, "reset"), MemberUnavailable),
        (aiohttp.http_exceptions.LineTooLong(b"x", 1), MalformedReply),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_what_an_exception_means(error: Exception, kind: type[MemberError]) -> None:
    assert isinstance(error, FOREIGN_ERRORS)
    assert type(error_from_exception(error, "ada")) is kind


@pytest.mark.parametrize(
    ("error", "connected"),
    [
        (httpx.ConnectTimeout("x"), False),
        (httpx.ConnectError("x"), False),
        (aiohttp.ClientOSError(104, "reset"), False),
        (httpx.ReadError("x"), True),
        (httpx.RemoteProtocolError("x"), True),
    ],
)
def test_an_exception_says_whether_there_was_a_connection(error: Exception, connected: bool) -> None:
    translated = error_from_exception(error, "ada")
    assert (translated.connected, translated.http_status, translated.provider_code) == (connected, None, None)


def test_an_error_has_the_status_and_the_providers_code_as_fields() -> None:
    refused = error_from_response(404, {}, ErrorDetails("model_not_found"), "ada")
    assert (refused.http_status, refused.provider_code, refused.connected) == (404, "model_not_found", True)
    in_mid_stream = error_from_details(ErrorDetails("overloaded_error", 529))
    assert (in_mid_stream.http_status, in_mid_stream.provider_code) == (200, "overloaded_error")


def test_a_lost_connection_is_no_timeout_though_the_transport_says_so() -> None:
    error = httpx.ConnectTimeout("x")
    error.__cause__ = aiohttp.ServerDisconnectedError()
    assert type(error_from_exception(error, "ada")) is MemberUnavailable


def test_translations_hold_nothing_of_what_was_said() -> None:
    error = error_from_exception(httpx.ReadError("a secret"), "ada")
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (201, MalformedReply),
        (302, MemberUnavailable),
        *((status, MemberRejected) for status in (400, 404, 413, 422)),
        *((status, MemberUnauthorized) for status in (401, 402, 403)),
        *((status, MemberTimeout) for status in (408, 504)),
        *((status, MemberOverloaded) for status in (429, 503, 529)),
        *((status, MemberUnavailable) for status in (500, 502, 599)),
    ],
)
def test_what_a_status_means(status: int, kind: type[MemberError]) -> None:
    error = error_from_response(status, {"retry-after": "7"}, ErrorDetails(), "ada")
    assert type(error) is kind
    assert error.member == "ada"
    if isinstance(error, MemberOverloaded):
        assert error.retry_after_s == 7.0


def test_a_header_goes_before_the_body() -> None:
    details = ErrorDetails(retry_after_s=3.0)
    for headers, expected in (({"retry-after": "7"}, 7.0), ({}, 3.0), ({"retry-after": "soon"}, 3.0)):
        error = error_from_response(429, headers, details, "ada")
        assert isinstance(error, MemberOverloaded)
        assert error.retry_after_s == expected


def test_an_error_of_unknown_kind_in_mid_stream_may_pass() -> None:
    assert type(error_from_details(ErrorDetails())) is MemberUnavailable


@pytest.mark.parametrize("code", ["rate_limit", "RESOURCE_EXHAUSTED", "a.b-c", "x" * 64])
def test_short_codes_are_passed_on(code: str) -> None:
    assert machine_code(None, 7, code) == code


@pytest.mark.parametrize("code", ["", "with a space", "x" * 65, "1000", "é", "a\n", None, {}, []])
def test_nothing_else_is(code: Any) -> None:
    assert machine_code(code) is None


@pytest.mark.parametrize("message", [None, 7, "", "max_tokens is too large", "the context of your question is unclear"])
def test_not_too_long(message: object) -> None:
    assert not says_too_long(message)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("7", 7.0), (" 0 ", 0.0), *((text, None) for text in ("soon", "-1", "1.5", "", "9" * 400, "²"))],
)
def test_retry_after_in_seconds(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value) == expected


def test_retry_after_as_a_date() -> None:
    later = retry_after_s(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert later is not None
    assert 55 < later <= 60
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00") == 0.0


@given(st.text())
def test_no_retry_after_breaks_it(value: str) -> None:
    after_s = retry_after_s(value)
    assert after_s is None or after_s >= 0
