"""An engine is given images, and never their URLs. This needs vLLM's code, but no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.vllm.member import EngineMember
from fusion.chat import Call, ImagePart, Message, Request
from fusion.errors import MemberRejected
from tests.remote.internets import PRIVATE, PUBLIC, images
from tests.remote.upstream import reply, upstream


class _Engine:
    """Notes what it is asked, and refuses it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def chat(self, request: Any, headers: Any) -> AsyncIterator[Any]:
        self.asked.append(request.model_dump(mode="json"))
        raise ValueError("enough")


def _call(url: str) -> Call:
    return Call("ada", Request((Message("user", (ImagePart(url),)),)), timeout_s=5.0)


async def test_an_engine_is_given_the_image() -> None:
    engine: Any = _Engine()
    async with upstream(reply(b"\x89PNG", content_type="image/png"), host=PUBLIC) as site:
        with pytest.raises(MemberRejected, match="the engine refused"):
            await EngineMember(engine, "m", images(site=PUBLIC)).ask(_call(f"http://site.test:{site.port}/"))
    (part,) = engine.asked[0]["messages"][0]["content"]
    assert part["image_url"]["url"] == "data:image/png;base64,iVBORw=="


@pytest.mark.parametrize("hosts", [(), ("other.test",)])
async def test_an_engine_is_not_asked_about_an_image_that_it_must_not_have(hosts: tuple[str, ...]) -> None:
    engine: Any = _Engine()
    guard = images(inside=PRIVATE, site=PUBLIC)
    async with upstream(reply(b"\x89PNG", content_type="image/png")) as private:
        host = "site" if hosts else "inside"
        with pytest.raises(MemberRejected, match="allowed_media_domains" if hosts else "not a public one"):
            await EngineMember(engine, "m", guard, hosts).ask(_call(f"http://{host}.test:{private.port}/"))
        assert private.connections == 0
    assert engine.asked == []
