"""The HTTP client that remote APIs are called with: it goes nowhere by itself and keeps nothing of what it is told."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

MAX_HEADERS = 128
MAX_HEADER_BYTES = 8 * 1024
"""Of one header of a response, and of the line with its status."""

_KEEP_ALIVE_S = 5.0


def http_client(
    base_url: str,
    headers: Mapping[str, str],
    *,
    connect_s: float,
    max_connections: int,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """A client for one API, whose URL ends in a slash. It waits for nothing but connections by itself.

    Redirects are not followed, cookies not kept, the environment's proxies not used, and a response whose head is too
    large is refused. `transport` takes the network's place.
    """

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, ssl=_certificates(), keepalive_timeout=_KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        timeout=httpx.Timeout(None, connect=connect_s),
        transport=transport or AiohttpTransport(verify=_certificates(), client=session),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities that are trusted. Reading them blocks for long enough to be done once."""
    return httpx.create_ssl_context(trust_env=False)
