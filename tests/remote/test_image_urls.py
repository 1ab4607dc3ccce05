"""Image URLs: what is passed on, what is refused, and that nothing private is ever reached on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from deployments.egress import images as image_urls
from deployments.egress.images import MAX_LINKS, MAX_REDIRECTS, ImageUrls, has_links
from deployments.egress.public_internet import Address, PublicInternet
from fusion.chat import ImagePart, Message, Request, TextPart
from fusion.errors import InvalidRequest, MemberRejected
from tests.remote.internets import PRIVATE, PUBLIC, Names, images, internet
from tests.remote.upstream import Action, Asked, Reset, Stall, reply, upstream

PNG = "data:image/png;base64,iVBORw0KGgo="
PICTURE = reply(b"\x89PNG", content_type="image/png")
NEITHER = "an image must be an http or https URL, or a base64 data: URL of an image"
NOT_PUBLIC = "the image's host is not a public one, or cannot be reached"


def request_of(*urls: str) -> Request:
    return Request((Message("system", "Look."), Message("user", (TextPart("?"), *map(ImagePart, urls)))))


def urls_in(request: Request) -> list[str]:
    content = request.messages[1].content
    assert isinstance(content, tuple)
    return [part.url for part in content if isinstance(part, ImagePart)]


async def checked(guard: ImageUrls, *urls: str, within_s: float = 5.0) -> list[str]:
    ends_at = asyncio.get_running_loop().time() + within_s
    return urls_in(await guard.checked(request_of(*urls), ends_at))


async def refusal(guard: ImageUrls, *urls: str, within_s: float = 5.0) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await checked(guard, *urls, within_s=within_s)
    assert caught.value.param is not None
    assert all(url not in caught.value.message for url in urls)
    return caught.value.message.removeprefix(f"{caught.value.param}: ")


def onward(to: str, status: str = "302 Found") -> bytes:
    return reply(b"", status, location=to)


def paths(routes: dict[str, bytes]) -> Callable[[Asked], Sequence[Action]]:
    """What a server does at each of its paths."""
    return lambda asked: [routes[asked.line.split()[1]]]


async def test_a_request_without_images_is_left_as_it_is() -> None:
    web, names = internet()
    for request in (Request((Message("user", "hi"),)), request_of()):
        assert await ImageUrls(web).checked(request, 0.0) is request
        assert not has_links(request)
    assert names.asked == []


async def test_a_public_image_is_passed_on() -> None:
    async with upstream(reply(b""), host=PUBLIC) as server:
        url = f"http://site.test:{server.port}/a%2Fb.png?sig=x%2By"
        assert await checked(images(site=PUBLIC), url, PNG, url) == [url, PNG, url]
    assert [asked.line for asked in server.asked] == ["HEAD /a%2Fb.png?sig=x%2By HTTP/1.1"]


@pytest.mark.parametrize(
    "url",
    [
        PRIVATE,
        f"{PRIVATE}.",
        f"@{PRIVATE}",
        "127.1",
        "127.0.0.1.nip.test",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.01",
        "0",
        "134744072",  # 8.8.8.8, but not in a form that all read alike
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%251]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "224.0.0.1",
        "localhost",
        "LOCALHOST.",
        "１２７.0.0.1",  # noqa: RUF001
        "ⓛocalhost",
        "xn--nda.test",
        "ü.test",
        "inside.test",
        "inside.test.",
        "INSIDE.test",
        "mixed.test",
        "metadata.google.internal",
        "nowhere.test",
        "in%73ide.test",
        "inside.test%00.site.test",
        "a" * 64 + ".test",
        ".".join(["a" * 60] * 5),
        "-site.test",
        "site..test",
        "si te.test",
        "*.test",
    ],
)
async def test_hosts_that_are_not_public(url: str) -> None:
    """One message for all of them, and a server that plays everything private hears of nothing."""
    web, _ = internet(
        **{
            "inside": PRIVATE,
            "mixed": f"{PUBLIC} {PRIVATE}",
            "127.0.0.1.nip": PRIVATE,
            "xn--nda": PRIVATE,
            "xn--tda": PRIVATE,
            "site": PUBLIC,
        }
    )
    async with upstream(reply(b"")) as private:
        assert await refusal(ImageUrls(web), f"http://{url}:{private.port}/a.png") == NOT_PUBLIC
        assert await refusal(ImageUrls(web), f"https://{url}:{private.port}/a.png") == NOT_PUBLIC
        assert private.connections == 0


@pytest.mark.parametrize("host", ["134744072", "8.2056", "0x8.8.8.8", "010.8.8.8", "8.8.8.8.", "1.2.3.4.5", "a.0x1"])
async def test_an_address_in_unusual_figures_is_refused_even_when_it_is_public(host: str) -> None:
    """Others may read another one in it."""
    names = Names({host: PUBLIC})
    web = PublicInternet(names.look_up, internet()[0].is_public)
    assert await refusal(ImageUrls(web), f"http://{host}/") == NOT_PUBLIC
    assert names.asked == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://site.test@127.0.0.1/", "an image's URL must hold no credentials"),
        ("http://site.test:80@127.0.0.1/", "an image's URL must hold no credentials"),
        ("http://a:b@site.test/", "an image's URL must hold no credentials"),
        ("http://127.0.0.1\\@site.test/", NEITHER),
        ("http://site.test\\.inside.test/", NEITHER),
        ("file:///etc/passwd", NEITHER),
        ("ftp://site.test/a.png", NEITHER),
        ("gopher://site.test/", NEITHER),
        ("//site.test/a.png", NEITHER),
        ("site.test/a.png", NEITHER),
        ("http:///a.png", NEITHER),
        ("http:site.test", NEITHER),
        ("http://site.test:99999/", NEITHER),
        ("http://[::1/", NEITHER),
        (" data:image/png;base64,AAAA", NEITHER),
        ("data:text/html;base64,AAAA", NEITHER),
        ("data:image/png,AAAA", NEITHER),
        ("data:image/png;base64,", NEITHER),
        ("data:image/png;base64,AAA", NEITHER),
        ("data:image/png;base64,AA AA", NEITHER),
        ("data:image/png;base64,AA-_", NEITHER),
        ("data:image/png;base64,AAAA=AAAA", NEITHER),
    ],
)
async def test_urls_that_are_none(url: str, says: str) -> None:
    web, names = internet(site=PUBLIC)
    assert await refusal(ImageUrls(web), url) == says
    assert names.asked == []


async def test_the_offending_image_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await checked(images(), PNG, "http://inside.test/secret.png")
    assert caught.value.param == "messages[1].content[2].image_url"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed_to_their_end(status: str) -> None:
    routes = {"/a": onward("/b?x=1", status), "/b?x=1": onward("//other.test:%d/c"), "/c": reply(b"")}
    async with upstream(by=paths(routes), host=PUBLIC) as server:
        routes["/b?x=1"] = onward(f"//other.test:{server.port}/c")
        found = await checked(images(site=PUBLIC, other=PUBLIC), f"http://site.test:{server.port}/a")
        assert found == [f"http://other.test:{server.port}/c"]


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:{port}/",
        "http://inside.test:{port}/",
        "//inside.test:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "http://metadata.google.internal:{port}/",
    ],
)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_no_redirect_leads_to_a_private_host(to: str, method: str) -> None:
    def answer(asked: Asked) -> Sequence[Action]:
        if "GET /a" in asked.line or (method == "HEAD" and "/a" in asked.line):
            return [onward(to.format(port=private.port))]
        return [onward("/a") if "/a" not in asked.line else reply(b"", "405 Method Not Allowed")]

    async with upstream(reply(b"")) as private, upstream(by=answer, host=PUBLIC) as public:
        assert await refusal(images(site=PUBLIC, inside=PRIVATE), f"http://site.test:{public.port}/") == NOT_PUBLIC
        assert len(public.asked) == (2 if method == "HEAD" else 3)
        assert private.connections == 0


@pytest.mark.parametrize(
    ("to", "says"),
    [("file:///etc/passwd", NEITHER), ("http://a:b@site.test/", "an image's URL must hold no credentials")],
)
async def test_a_redirect_is_held_to_the_same_rules(to: str, says: str) -> None:
    async with upstream(onward(to), host=PUBLIC) as server:
        assert await refusal(images(site=PUBLIC), f"http://site.test:{server.port}/") == says


@pytest.mark.parametrize("redirects", [MAX_REDIRECTS, MAX_REDIRECTS + 1])
async def test_redirects_have_an_end(redirects: int) -> None:
    def answer(asked: Asked) -> Sequence[Action]:
        step = int(asked.line.split()[1][1:])
        return [onward(f"/{step + 1}") if step < redirects else reply(b"")]

    async with upstream(by=answer, host=PUBLIC) as server:
        url = f"http://site.test:{server.port}/"
        if redirects <= MAX_REDIRECTS:
            assert await checked(images(site=PUBLIC), f"{url}0") == [f"{url}{redirects}"]
        else:
            says = f"the image's URL is redirected more than {MAX_REDIRECTS} times"
            assert await refusal(images(site=PUBLIC), f"{url}0") == says
            assert len(server.asked) == MAX_REDIRECTS + 1


async def test_a_server_that_knows_no_head_is_asked_with_get_and_not_read() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n" + b"x" * 100_000

    def answer(asked: Asked) -> Sequence[Action]:
        return [endless, Stall()] if asked.line.startswith("GET") else [reply(b"", "405 Method Not Allowed")]

    async with upstream(by=answer, host=PUBLIC) as server:
        url = f"http://site.test:{server.port}/"
        assert await checked(images(site=PUBLIC), url) == [url]
        assert [asked.line.split()[0] for asked in server.asked] == ["HEAD", "GET"]


async def test_a_name_that_changes_its_address_gains_nothing() -> None:
    """Public when it is looked up first, private from then on: the second connection is not made."""
    web, names = internet(site=[PUBLIC, PRIVATE])
    async with upstream(onward("/again"), host=PUBLIC) as public, upstream(reply(b"")) as private:
        assert await refusal(ImageUrls(web), f"http://site.test:{public.port}/") == NOT_PUBLIC
        assert names.asked == ["site.test", "site.test"]
        assert (len(public.asked), private.connections) == (1, 0)


@pytest.mark.parametrize("actions", [[Reset()], [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], [onward("http://[::1/")]])
async def test_servers_that_misbehave(actions: list[Action]) -> None:
    async with upstream(*actions, host=PUBLIC) as server:
        assert await refusal(images(site=PUBLIC), f"http://site.test:{server.port}/") in (NOT_PUBLIC, NEITHER)


async def test_a_host_that_does_not_answer_in_time() -> None:
    async with upstream(Stall(), host=PUBLIC) as server:
        says = await refusal(images(site=PUBLIC), f"http://site.test:{server.port}/", within_s=0.1)
        assert says == "the image's host does not answer in time"


async def test_a_lookup_that_hangs_ends_with_the_check_at_the_latest() -> None:
    class Hanging:
        async def look_up(self, host: str) -> Sequence[Address]:
            await asyncio.Event().wait()
            raise AssertionError

    web = PublicInternet(Hanging().look_up)
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    assert await refusal(ImageUrls(web), "http://site.test/", within_s=60) == "the image's host does not answer in time"
    assert loop.time() - began_at == pytest.approx(image_urls.CHECK_S)


async def test_a_check_ends_when_its_request_is_cancelled() -> None:
    async with upstream(Stall(), host=PUBLIC) as server:
        checking = asyncio.create_task(checked(images(site=PUBLIC), f"http://site.test:{server.port}/"))
        await server.came.wait()
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        await asyncio.wait_for(server.left.wait(), 5)


async def test_a_request_has_so_many_links_at_most() -> None:
    web, names = internet(site=PUBLIC)
    links = [f"http://site.test/{index}" for index in range(MAX_LINKS + 1)]
    assert await refusal(ImageUrls(web), *links) == f"more than {MAX_LINKS} images are given by URL"
    assert names.asked == []


async def inlined(guard: ImageUrls, *urls: str, hosts: Sequence[str] = ()) -> list[str]:
    return urls_in(await guard.inlined(request_of(*urls), hosts))


async def unavailable(guard: ImageUrls, url: str, hosts: Sequence[str] = ()) -> str:
    with pytest.raises(MemberRejected) as caught:
        await inlined(guard, url, hosts=hosts)
    return caught.value.message.removeprefix("image_url: ")


async def test_images_are_put_into_the_request() -> None:
    async with upstream(by=paths({"/a": onward("/b"), "/b": PICTURE}), host=PUBLIC) as server:
        found = await inlined(images(site=PUBLIC), f"http://site.test:{server.port}/a", PNG)
        assert found == ["data:image/png;base64,iVBORw==", PNG]
        assert not has_links(request_of(*found))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (reply(b"no", "404 Not Found", content_type="image/png"), "the image's host answers with HTTP 404"),
        (reply(b"<html>", content_type="text/html"), "what is at the image's URL is not an image"),
        (reply(b"x", content_type="image/png; a=b,c"), None),
        (reply(b"x", content_type="image/png,AAAA"), "what is at the image's URL is not an image"),
        (reply(b"x", content_type=""), "what is at the image's URL is not an image"),
        (
            reply(b"x", content_type="image/png", content_encoding="gzip"),
            "the image is compressed, which was not asked for",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\nx", NOT_PUBLIC),
    ],
    ids=["missing", "a page", "with parameters", "a trick", "untyped", "compressed", "broken off"],
)
async def test_what_is_no_image_is_not_taken(answer: bytes, says: str | None) -> None:
    async with upstream(answer, Reset(), host=PUBLIC) as server:
        url = f"http://site.test:{server.port}/"
        if says is None:
            assert await inlined(images(site=PUBLIC), url) == ["data:image/png;base64,eA=="]
        else:
            assert await unavailable(images(site=PUBLIC), url) == says


async def test_images_are_taken_up_to_a_size_that_counts_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_urls, "MAX_IMAGE_BYTES", 10)
    async with upstream(reply(b"x" * 5, content_type="image/png"), host=PUBLIC) as server:
        urls = [f"http://site.test:{server.port}/{index}" for index in range(3)]
        assert len(await inlined(images(site=PUBLIC), *urls[:2])) == 2
        with pytest.raises(MemberRejected, match="the images are larger than 10 bytes"):
            await inlined(images(site=PUBLIC), *urls)


async def test_an_image_that_never_ends_is_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n"
    megabytes = [b"x" * 2**20] * (image_urls.MAX_IMAGE_BYTES // 2**20 + 1)
    async with upstream(head, *megabytes, Stall(), host=PUBLIC) as server:
        says = await unavailable(images(site=PUBLIC), f"http://site.test:{server.port}/")
        assert says == "the images are larger than 20971520 bytes"


async def test_a_name_that_changes_between_the_check_and_the_fetch_gains_nothing() -> None:
    web, _ = internet(site=[PUBLIC, PRIVATE])
    async with upstream(reply(b""), host=PUBLIC) as public, upstream(PICTURE) as private:
        url = f"http://site.test:{public.port}/"
        assert await checked(ImageUrls(web), url) == [url]
        assert await unavailable(ImageUrls(web), f"http://site.test:{private.port}/") == NOT_PUBLIC
        assert private.connections == 0


@pytest.mark.parametrize("to", ["http://127.0.0.1:{port}/", "http://inside.test:{port}/"])
async def test_no_redirect_of_an_image_leads_to_a_private_host(to: str) -> None:
    async with upstream(PICTURE) as private, upstream(onward(to.format(port=private.port)), host=PUBLIC) as public:
        url = f"http://site.test:{public.port}/"
        assert await unavailable(images(site=PUBLIC, inside=PRIVATE), url) == NOT_PUBLIC
        assert private.connections == 0


async def test_images_come_from_the_hosts_that_are_allowed() -> None:
    async with upstream(by=paths({"/a": PICTURE, "/b": onward("//site.test:1/")}), host=PUBLIC) as server:
        guard = images(site=PUBLIC, other=PUBLIC)
        assert await inlined(guard, f"http://other.test:{server.port}/a", hosts=["other.test"])
        for path in ("site.test:{port}/a", "other.test:{port}/b"):
            says = await unavailable(guard, "http://" + path.format(port=server.port), ["other.test"])
            assert says == "the image's host is not one of the engine's allowed_media_domains"
        assert len(server.asked) == 2
