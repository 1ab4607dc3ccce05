"""The HTTP API as an ASGI application, with an orchestrator that only notes what it is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from deployments.api.app import http_api
from deployments.api.auth import Limits
from deployments.api.chat_request import ChatRequest
from deployments.api.models import Catalogue
from deployments.egress.images import ImageUrls
from fusion.chat import Completion, ImagePart, Usage
from fusion.member import Emit, MemberProfile
from fusion.presets import Preset
from fusion.progress import Watcher
from fusion.results import Fused, Timings
from tests.remote.internets import PRIVATE, PUBLIC, images, internet
from tests.remote.upstream import Stall, reply, upstream

PNG = "data:image/png;base64,iVBORw0KGgo="
WHERE = "messages[0].content[1].image_url"


class Noting:
    """Answers "four" to everything."""

    catalogue = Catalogue(
        {"fusion/merge": Preset("fusion/merge", "merge", ("ada",), ("ada",))},
        {"ada": MemberProfile("ada", "b", "m")},
        "fusion/merge",
    )

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    async def fuse(self, preset: Preset, chat: ChatRequest, watcher: Watcher | None, started_at: float) -> Fused:
        self.asked.append(chat)
        timings = Timings(1.0, 1.0, None)
        return Fused(Completion("four"), "merge", None, (), None, timings, None, Usage(), None, None)

    async def ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        self.asked.append(chat)
        return Completion("four")

    async def readiness(self) -> dict[str, Any]:
        return {"ready": True}


async def post(noting: Noting, guard: ImageUrls, url: str, **more: Any) -> httpx.Response:
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "fusion/merge", "messages": [{"role": "user", "content": parts}], **more}
    transport = httpx.ASGITransport(http_api(noting, Limits(), guard))
    async with httpx.AsyncClient(transport=transport, base_url="http://fusion") as client:
        return await client.post("/v1/chat/completions", json=body)


def url_of(chat: ChatRequest) -> str:
    content = chat.request.messages[0].content
    assert isinstance(content, tuple)
    assert isinstance(content[1], ImagePart)
    return content[1].url


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["fusion/merge", "ada"])
async def test_a_private_image_is_refused_before_anyone_is_asked(model: str, stream: bool) -> None:
    noting = Noting()
    guard = images(inside=PRIVATE)
    async with upstream(reply(b"")) as private:
        response = await post(noting, guard, f"http://inside.test:{private.port}/", model=model, stream=stream)
        assert private.connections == 0
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": f"{WHERE}: the image's host is not a public one, or cannot be reached",
        "type": "invalid_request_error",
        "param": WHERE,
        "code": "invalid_request",
    }
    assert noting.asked == []


@pytest.mark.parametrize("model", ["fusion/merge", "ada"])
async def test_what_is_passed_on_is_the_url_that_was_checked_last(model: str) -> None:
    noting = Noting()
    async with upstream(reply(b""), host=PUBLIC) as end:
        to = f"http://site.test:{end.port}/a.png"
        async with upstream(reply(b"", "302 Found", location=to), host=PUBLIC) as begin:
            response = await post(noting, images(site=PUBLIC), f"http://site.test:{begin.port}/", model=model)
    assert response.status_code == 200
    assert url_of(noting.asked[0]) == to


async def test_an_image_in_the_request_needs_no_network() -> None:
    noting, (web, names) = Noting(), internet()
    assert (await post(noting, ImageUrls(web), PNG)).status_code == 200
    assert url_of(noting.asked[0]) == PNG
    assert names.asked == []


async def test_a_request_without_images_comes_as_it_was_parsed() -> None:
    noting, (web, names) = Noting(), internet()
    messages = [{"role": "user", "content": "?"}]
    assert (await post(noting, ImageUrls(web), "", messages=messages)).status_code == 200
    assert names.asked == []


async def test_the_check_ends_with_the_requests_deadline() -> None:
    noting = Noting()
    began_at = asyncio.get_running_loop().time()
    async with upstream(Stall(), host=PUBLIC) as server:
        url = f"http://site.test:{server.port}/"
        response = await post(noting, images(site=PUBLIC), url, fusion={"deadline_s": 0.2})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"{WHERE}: the image's host does not answer in time"
    assert asyncio.get_running_loop().time() - began_at < 2.0


async def test_an_unknown_model_is_said_before_an_image_is_looked_at() -> None:
    noting, (web, names) = Noting(), internet()
    assert (await post(noting, ImageUrls(web), "http://inside.test/", model="none")).status_code == 404
    assert names.asked == []
