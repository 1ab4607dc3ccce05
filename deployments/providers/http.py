"""The HTTP client that remote APIs are called with: it goes nowhere by itself and keeps nothing of what it is told."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import cache

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

MAX_HEADERS = 128


MAX_HEADER_BYTES = 8 * 1024
"""Of one header of a response, and of the line with its status."""


_KEEP_ALIVE_S = 5.0


class UpstreamClient:
    """A client for one API, whose URL ends in a slash. It waits for nothing but connections by itself.

    What httpx has around a transport is left out: it would follow redirects, keep cookies and merge URLs, none of which
    is wanted, for half of what a call costs. So redirects are not followed, cookies not kept, the environment's proxies
    not used, and a response whose head is too large is refused. `transport` takes the network's place.

    Raises:
        httpx.InvalidURL: at construction, when the URL is none.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        connect_s: float,
        max_connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.host = httpx.URL(base_url).host
        self._base_url = base_url
        self._headers = {"accept": "*/*", "user-agent": "fusion-cluster", **headers}
        self._extensions = {"timeout": httpx.Timeout(None, connect=connect_s).as_dict()}
        self._transport = transport or AiohttpTransport(
            verify=_certificates(), client=lambda: _session(max_connections)
        )
        self._urls: dict[str, httpx.URL] = {}

    @asynccontextmanager
    async def post(
        self, path: str, content: bytes, headers: Iterable[tuple[str, str]] = ()
    ) -> AsyncGenerator[httpx.Response]:
        """The response to `content`, its body not yet read. `headers` come on top of the client's own.

        Raises:
            httpx.TransportError: the API cannot be reached.
        """
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(self._base_url + path)
        sent = {**self._headers, **dict(headers)} if headers else self._headers
        request = httpx.Request("POST", url, headers=sent, content=content, extensions=self._extensions)
        response = await self._transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def _session(max_connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=max_connections, ssl=_certificates(), keepalive_timeout=_KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities that are trusted. Reading them blocks for long enough to be done once."""
    return httpx.create_ssl_context(trust_env=False)
