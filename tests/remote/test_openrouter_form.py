"""OpenRouter's form from the official client, through the HTTP API, to scripted members."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from deployments.api.app import http_api
from deployments.api.auth import Limits
from deployments.api.chat_request import ChatRequest
from deployments.api.models import Catalogue
from fusion.chat import Call, Completion, Reasoning
from fusion.member import Emit
from fusion.presets import Policy, Pool, Preset, Task
from fusion.progress import Watcher
from fusion.results import Fused
from fusion.runtime.runner import fuse
from fusion.testing import Answer, ScriptedMember
from tests.support.panels import profile

QUESTION: Any = [{"role": "user", "content": "What is two and two?"}]


class Scripted:
    """Fuses scripted members."""

    def __init__(self) -> None:
        self.members = {name: ScriptedMember(Answer(f"{name} says four")) for name in ("ada", "bob", "cyd")}
        self.profiles = {name: profile(name, origin=f"vendor/{name}") for name in self.members}
        preset = Preset("fusion/merge", "merge", ("ada", "bob"), ("cyd",), Policy(quorum=2))
        self.catalogue = Catalogue({"fusion/merge": preset}, self.profiles, "fusion/merge")

    async def fuse(self, preset: Preset, chat: ChatRequest, watcher: Watcher | None, started_at: float) -> Fused:
        task = Task(
            preset,
            chat.request,
            self.profiles,
            7,
            panel_sampling=chat.panel_sampling,
            judge_sampling=chat.judge_sampling,
        )
        return await fuse(task, Pool(self.members, self.profiles), watcher=watcher, started_at=started_at)

    async def ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        return await self.members[member].ask(Call(member, chat.request, 5.0), emit)

    async def readiness(self) -> dict[str, Any]:
        return {"ready": True}


def client_of(orchestrator: Scripted) -> openai.AsyncOpenAI:
    transport = httpx.ASGITransport(http_api(orchestrator, Limits()))
    return openai.AsyncOpenAI(
        base_url="http://fusion/v1", api_key="-", max_retries=0, http_client=httpx.AsyncClient(transport=transport)
    )


def plugin(**settings: Any) -> dict[str, Any]:
    return {"plugins": [{"id": "fusion", **settings}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_moves_over_by_its_base_url(stream: bool) -> None:
    scripted = Scripted()
    settings = plugin(
        analysis_models=["vendor/bob", "vendor/cyd"],
        model="vendor/ada",
        max_completion_tokens=500,
        reasoning={"effort": "high"},
        temperature=0.3,
    )
    async with client_of(scripted) as client:
        create: Any = client.chat.completions.create
        reply = await create(model="openrouter/fusion", messages=QUESTION, extra_body=settings, stream=stream)
        if stream:
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in reply if chunk.choices])
        else:
            text = reply.choices[0].message.content
            assert reply.model_extra["fusion"]["judge"] == "ada"
    assert text == "ada says four"
    assert [len(member.calls) for member in scripted.members.values()] == [1, 1, 1]
    asked = scripted.members["bob"].calls[0].request.sampling
    assert (asked.temperature, asked.max_tokens, asked.reasoning) == (0.3, 500, Reasoning("high"))
    wrote = scripted.members["ada"].calls[0].request.sampling
    assert (wrote.temperature, wrote.max_tokens, wrote.reasoning) == (None, 500, Reasoning("high"))


async def test_the_fusion_tool_on_a_member_asks_a_panel_which_that_member_judges() -> None:
    scripted = Scripted()
    tools: Any = [{"type": "openrouter:fusion"}]
    async with client_of(scripted) as client:
        reply = await client.chat.completions.create(
            model="cyd", messages=QUESTION, tools=tools, tool_choice="required"
        )
    assert reply.choices[0].message.content == "cyd says four"
    assert [len(member.calls) for member in scripted.members.values()] == [1, 1, 1]


async def test_a_plugin_that_is_switched_off_asks_one_member() -> None:
    scripted = Scripted()
    async with client_of(scripted) as client:
        create: Any = client.chat.completions.create
        reply = await create(model="openrouter/fusion", messages=QUESTION, extra_body=plugin(enabled=False))
    assert reply.choices[0].message.content == "cyd says four"
    assert [len(member.calls) for member in scripted.members.values()] == [0, 0, 1]


async def test_web_tools_are_a_clear_400() -> None:
    async with client_of(Scripted()) as client:
        create: Any = client.chat.completions.create
        for body, param in (
            (plugin(max_tool_calls=8), "plugins[0].max_tool_calls"),
            ({"plugins": [{"id": "web"}]}, "plugins[0].id"),
            ({"tools": [{"type": "openrouter:web_search"}]}, "tools[0].type"),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                await create(model="openrouter/fusion", messages=QUESTION, extra_body=body)
            assert caught.value.param == param
            assert "not supported" in caught.value.message
