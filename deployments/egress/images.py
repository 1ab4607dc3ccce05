"""Checks the image URLs of requests, and fetches images for members that must not do so themselves.

The process that fetches an image may be able to reach what the URL's author must not: the cluster's network, a
cloud's metadata service, this machine. So a request's URLs are checked once, before any member is asked
(`ImageUrls.checked`). A member whose backend would fetch them from inside of a network is sent the images themselves
(`ImageUrls.inlined`): a check is not enough there, as a name may resolve to another address the next time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address

import aiohttp
from yarl import URL

from deployments.egress.errors import FOREIGN_ERRORS
from deployments.egress.public_internet import PublicInternet
from fusion.chat import ImagePart, Request
from fusion.errors import InvalidRequest, MemberRejected

MAX_LINKS = 32


MAX_REDIRECTS = 5


MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""The limit of a call's images together, where they are fetched here."""


CHECK_S = 5.0


FETCH_S = 20.0


_MAX_CONCURRENT = 8


_REDIRECTS = frozenset({301, 302, 303, 307, 308})


_IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]+")


_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?")


_NUMBER = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)\.?")


_NOT_AN_IMAGE_URL = "an image must be an http or https URL, or a base64 data: URL of an image"


# One message for all of these, so that it does not reveal what is behind the ingress.
_NOT_PUBLIC = "the image's host is not a public one, or cannot be reached"


class _ImageRefused(Exception):
    """An image is refused. The message says why, and has nothing of the URL in it."""


class ImageUrls:
    """Checks a request's image URLs, or replaces them by the images."""

    def __init__(self, internet: PublicInternet | None = None) -> None:
        self.internet = internet or PublicInternet()

    async def checked(self, request: Request, ends_at: float) -> Request:
        """Returns the request with each image URL replaced by the one that its redirects end at. Every host on the way
        has public addresses only. `data:` URLs stay as they are.

        Takes `CHECK_S` at most, and ends at `ends_at` of the loop's time.

        Raises:
            InvalidRequest: a URL is refused; `param` is its path.
        """
        places: dict[str, str] = {}
        for where, part in _images(request):
            places.setdefault(part.url, where)
        if not places:
            return request
        ends_at = min(ends_at, asyncio.get_running_loop().time() + CHECK_S)
        outcomes = await self._for_each_url(places, _final_url, ends_at)
        for url, outcome in outcomes.items():
            if isinstance(outcome, _ImageRefused):
                raise InvalidRequest(f"{places[url]}: {outcome}", param=places[url])
        return _with_urls(request, {url: str(outcome) for url, outcome in outcomes.items()})

    async def inlined(self, request: Request, hosts: Collection[str] = ()) -> Request:
        """Returns the request with its images as `data:` URLs. `hosts` are those that images may come from, every
        public one when there are none. The images have `MAX_IMAGE_BYTES` together at most, and take `FETCH_S` at most.

        Raises:
            MemberRejected: an image cannot be fetched.
        """
        left = MAX_IMAGE_BYTES

        def take(size: int) -> None:
            nonlocal left
            left -= size
            if left < 0:
                raise _ImageRefused(f"the images are larger than {MAX_IMAGE_BYTES} bytes")

        async def fetched(session: aiohttp.ClientSession, text: str) -> str:
            return await _fetch(session, text, hosts, take)

        urls = {part.url for _, part in _images(request)}
        outcomes = await self._for_each_url(urls, fetched, asyncio.get_running_loop().time() + FETCH_S)
        for outcome in outcomes.values():
            if isinstance(outcome, _ImageRefused):
                raise MemberRejected(f"image_url: {outcome}")
        return _with_urls(request, {url: str(outcome) for url, outcome in outcomes.items()})

    async def _for_each_url(
        self, urls: Iterable[str], work: Callable[[aiohttp.ClientSession, str], Awaitable[str]], ends_at: float
    ) -> dict[str, str | _ImageRefused]:
        """Runs the work for each link and returns its result, or its refusal, by URL. `data:` URLs are their own."""
        outcomes: dict[str, str | _ImageRefused] = {}
        links: list[str] = []
        for url in urls:
            if _is_data(url):
                outcomes[url] = url if _is_image(url) else _ImageRefused(_NOT_AN_IMAGE_URL)
            else:
                links.append(url)
        if not links:
            return outcomes
        if len(links) > MAX_LINKS:
            return outcomes | dict.fromkeys(links, _ImageRefused(f"more than {MAX_LINKS} images are given by URL"))
        slot = asyncio.Semaphore(_MAX_CONCURRENT)

        async def one(session: aiohttp.ClientSession, url: str) -> str | _ImageRefused:
            try:
                async with asyncio.timeout_at(ends_at), slot:
                    try:
                        return await work(session, url)
                    except (*FOREIGN_ERRORS, ValueError):
                        return _ImageRefused(_NOT_PUBLIC)
            except _ImageRefused as refused:
                return refused
            except TimeoutError:
                return _ImageRefused("the image's host does not answer in time")

        async with self.internet.session() as session, asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(one(session, url)) for url in links}
        return outcomes | {url: task.result() for url, task in tasks.items()}


def has_links(request: Request) -> bool:
    """Whether a request has images that have to be fetched."""
    return any(not _is_data(part.url) for _, part in _images(request))


def _images(request: Request) -> Iterable[tuple[str, ImagePart]]:
    for position, message in enumerate(request.messages):
        if isinstance(message.content, tuple):
            for index, part in enumerate(message.content):
                if isinstance(part, ImagePart):
                    yield f"messages[{position}].content[{index}].image_url", part


def _with_urls(request: Request, urls: Mapping[str, str]) -> Request:
    messages = tuple(
        replace(
            message,
            content=tuple(
                replace(part, url=urls[part.url]) if isinstance(part, ImagePart) else part for part in message.content
            ),
        )
        if isinstance(message.content, tuple)
        else message
        for message in request.messages
    )
    return replace(request, messages=messages)


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _is_image(url: str) -> bool:
    head = DATA_URL.match(url)
    try:
        return head is not None and bool(binascii.a2b_base64(url[head.end() :], strict_mode=True))
    except ValueError:
        return False


def _parse_link(text: str, base: URL | None = None) -> URL:
    """Parses an image's URL. What is passed on is the parsed form, which every reader understands alike."""
    try:
        url = URL(text) if base is None else base.join(URL(text))
    except ValueError:
        raise _ImageRefused(_NOT_AN_IMAGE_URL) from None
    host = url.raw_host
    if url.scheme not in ("http", "https") or not host:
        raise _ImageRefused(_NOT_AN_IMAGE_URL)
    if "@" in url.raw_authority:
        raise _ImageRefused("an image's URL must hold no credentials")
    # A numeric host in another than the usual form is a different address to different readers.
    if not (_is_address(host) if ":" in host or _NUMBER.fullmatch(host) else _NAME.fullmatch(host)):
        raise _ImageRefused(_NOT_PUBLIC)
    return url


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host)) and "%" not in host
    except ValueError:
        return False


async def _final_url(session: aiohttp.ClientSession, text: str) -> str:
    """Returns the URL at which redirects end. Whether an image is there is not checked."""
    url = _parse_link(text)
    for _ in range(MAX_REDIRECTS + 1):
        onward = None
        for method in ("HEAD", "GET"):  # some servers do not support HEAD
            async with session.request(method, url, allow_redirects=False) as response:
                onward = _redirect(response, url)
                if response.status < 400:
                    break
        if onward is None:
            return str(url)
        url = onward
    raise _ImageRefused(f"the image's URL is redirected more than {MAX_REDIRECTS} times")


async def _fetch(session: aiohttp.ClientSession, text: str, hosts: Collection[str], take: Callable[[int], None]) -> str:
    """Returns the image at a URL as a `data:` URL."""
    url = _parse_link(text)
    for _ in range(MAX_REDIRECTS + 1):
        if hosts and url.host not in hosts:
            raise _ImageRefused("the image's host is not one of the engine's allowed_media_domains")
        async with session.get(url, allow_redirects=False) as response:
            onward = _redirect(response, url)
            if onward is None:
                return await _content(response, take)
        url = onward
    raise _ImageRefused(f"the image's URL is redirected more than {MAX_REDIRECTS} times")


async def _content(response: aiohttp.ClientResponse, take: Callable[[int], None]) -> str:
    if response.status != 200:
        raise _ImageRefused(f"the image's host answers with HTTP {response.status}")
    if not _IMAGE_TYPE.fullmatch(response.content_type.lower()):
        raise _ImageRefused("what is at the image's URL is not an image")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _ImageRefused("the image is compressed, which was not asked for")
    pieces: list[bytes] = []
    async for piece in response.content.iter_any():
        take(len(piece))
        pieces.append(piece)
    return f"data:{response.content_type.lower()};base64,{base64.b64encode(b''.join(pieces)).decode()}"


def _redirect(response: aiohttp.ClientResponse, url: URL) -> URL | None:
    location = response.headers.get("location")
    return _parse_link(location, url) if response.status in _REDIRECTS and location else None


DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)
"""Matches the beginning of an image's `data:` URL."""
