"""The HTTP client that remote APIs are called with. It follows no redirects and keeps no cookies."""

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
"""The limit of one header of a response, and of its status line."""

_KEEP_ALIVE_S = 5.0


class UpstreamClient:
    """Sends requests to one API, whose URL ends in a slash. Of all timeouts it has the one for connecting.

    It uses httpx's transport without httpx's client, which would follow redirects, keep cookies and merge URLs, and is
    half of what a call costs. Redirects are not followed, cookies not kept, the environment's proxies not used, and a
    response whose head is too large is refused. `transport` replaces the network.

    Raises:
        httpx.InvalidURL: at construction, when the URL is not valid.
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
        """Sends a request and yields the response, its body unread. `headers` are added to the client's own.

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
        """Closes the connections."""
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
    """The trusted certificate authorities, cached: reading them blocks the event loop."""
    return httpx.create_ssl_context(trust_env=False)
