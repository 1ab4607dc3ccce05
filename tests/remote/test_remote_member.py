"""Remote members against a server that keeps the protocol; tests/faults has those that break it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.egress.images import ImageUrls
from deployments.egress.public_internet import PublicInternet
from deployments.providers.backend import RemoteBackend, Timeouts
from deployments.providers.base import Api
from deployments.providers.member import RemoteMember
from deployments.providers.response_body import DRAIN_S
from deployments.secrets import Secret
from fusion.chat import Completion, Delta, ImagePart, Message, Sampling, Usage
from fusion.errors import EmptyCompletion, MalformedReply, MemberRejected, MemberTimeout
from tests.remote.internets import PRIVATE, PUBLIC, Names, images
from tests.remote.upstream import OPENING, Action, Reset, Stall, chunk, reply, streamed, upstream
from tests.unit.deployments.providers.wire_cases import call_of, sampled
from tests.unit.deployments.providers.wire_shapes import added_up, stream_bytes

KEY = "sk-a-very-secret-key"
QUICK = Timeouts(connect_s=1.0, first_token_s=0.2, idle_s=0.2, total_s=5.0)
APIS: dict[Api, tuple[str, str]] = {
    "openai": ("POST /v1/chat/completions HTTP/1.1", "openai_plain"),
    "anthropic": ("POST /v1/messages HTTP/1.1", "anthropic_plain"),
    "gemini": ("POST /v1/models/m:streamGenerateContent?alt=sse HTTP/1.1", "gemini_tools"),
}
REPLIES = {
    "openai": {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]},
    "anthropic": {"type": "message", "content": [{"type": "text", "text": "4"}], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}]},
}
OK = REPLIES["openai"]


USAGE = {
    "openai": {"usage": {"prompt_tokens": 7, "completion_tokens": 2}},
    "anthropic": {"usage": {"input_tokens": 7, "output_tokens": 2}},
    "gemini": {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2}},
}
EMPTY = {
    "openai": {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]},
    "anthropic": {"type": "message", "content": [], "stop_reason": "max_tokens"},
    "gemini": {"candidates": [{"content": {"parts": []}, "finishReason": "MAX_TOKENS"}]},
}


@asynccontextmanager
async def member_at(url: str, api: Api = "openai", **more: Any) -> AsyncIterator[RemoteMember]:
    """A member, closed at the end, with nothing of it left behind."""
    before = asyncio.all_tasks()
    timeouts, omits, guard = more.pop("timeouts", QUICK), more.pop("omits", ()), more.pop("guard", None)
    member = RemoteMember(RemoteBackend(f"{url}/v1", api=api, timeouts=timeouts, **more), "m", omits, guard)
    try:
        yield member
    finally:
        await member.aclose()
        for _ in range(3):
            await asyncio.sleep(0)
        assert {task for task in asyncio.all_tasks() - before if "serve" not in repr(task)} == set()


async def told(url: str, *, stream: bool, api: Api = "openai", **more: Any) -> Completion:
    async with member_at(url, api, **more) as member:
        return await member.ask(call_of(), (lambda _: None) if stream else None)


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_in_one_piece(api: Api, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    async with upstream(reply(REPLIES[api])) as server:
        assert await told(server.url, stream=False, api=api, key=Secret(file=str(tmp_path / "key"))) == Completion("4")
    (asked,) = server.asked
    assert asked.line == APIS[api][0].replace("streamGenerateContent?alt=sse", "generateContent")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept-encoding"] == "identity"
    named = {"openai": f"Bearer {KEY}", "anthropic": KEY, "gemini": KEY}[api]
    assert named in asked.headers.values()


@pytest.mark.parametrize("size", [None, 1, 7], ids=["whole", "by bytes", "by sevens"])
@pytest.mark.parametrize("api", APIS)
async def test_an_answer_as_a_stream(api: Api, size: int | None) -> None:
    line, name = APIS[api]
    heard: list[Delta] = []
    async with upstream(*streamed(stream_bytes(name), size)) as server, member_at(server.url, api) as member:
        whole = await member.ask(call_of(), heard.append)
    assert server.asked[0].line == line
    pieces = added_up(heard)
    assert (pieces.text, pieces.tool_calls, pieces.reasoning) == (whole.text, whole.tool_calls, whole.reasoning)
    assert whole.text
    assert whole.usage is not None


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_is_used_again(api: Api, stream: bool) -> None:
    actions = streamed(stream_bytes(APIS[api][1])) if stream else [reply(REPLIES[api])]
    async with upstream(*actions) as server, member_at(server.url, api) as member:
        for _ in range(3):
            await member.ask(call_of(), (lambda _: None) if stream else None)
        assert (server.connections, server.open) == (1, 1)


async def test_a_finished_stream_that_is_held_open_is_let_go() -> None:
    whole = streamed(stream_bytes("openai_plain"))[:-1]
    async with upstream(*whole, Stall()) as server:
        began_at = asyncio.get_running_loop().time()
        assert (await told(server.url, stream=True)).text == "Grüße, 世界 🌍"
        assert asyncio.get_running_loop().time() - began_at < DRAIN_S + 1.0


async def test_a_connection_that_breaks_after_the_end_harms_nothing() -> None:
    async with upstream(*streamed(stream_bytes("openai_plain"))[:-1], Reset()) as server:
        assert (await told(server.url, stream=True)).text == "Grüße, 世界 🌍"


async def test_settings_that_a_model_does_not_take_are_left_out_where_the_operator_says_so() -> None:
    async with upstream(reply(OK)) as server, member_at(server.url, omits=("temperature", "seed")) as member:
        await member.ask(sampled(temperature=0.0, seed=1, top_p=0.5))
    assert set(server.asked[0].body) == {"model", "messages", "top_p"}


async def test_what_a_provider_cannot_do_is_never_sent() -> None:
    async with upstream(reply(OK)) as server, member_at(server.url, "anthropic") as member:
        with pytest.raises(MemberRejected, match="seed is not supported by Anthropic"):
            await member.ask(call_of(sampling=Sampling(seed=1)))
    assert server.asked == []


def stream_of(*lines: bytes) -> list[Action]:
    return streamed(b"".join(b"data: " + line + b"\n\n" for line in lines))


FINISH = b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'
WORD = b'{"choices":[{"delta":{"content":"4"}}]}'


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_withheld_is_none(stream: bool) -> None:
    said = {"content": None}
    choice = {"message": said, "delta": said, "finish_reason": "content_filter"}
    document = json.dumps({"choices": [choice]}).encode()
    async with upstream(*(stream_of(document) if stream else [reply(document)])) as server:
        with pytest.raises(MemberRejected, match="the answer was withheld"):
            await told(server.url, stream=stream)


async def test_the_deadline_ends_a_call() -> None:
    async with upstream(Stall()) as server, member_at(server.url) as member:
        call = call_of()
        call = type(call)(call.member, call.request, timeout_s=0.1)
        for emit in (None, lambda _: None):
            with pytest.raises(MemberTimeout, match=r"no answer within 0\.1 s"):
                await member.ask(call, emit)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_leaves_its_connection(stream: bool) -> None:
    actions = [OPENING, chunk(b"data: " + WORD + b"\n\n"), Stall()] if stream else [Stall()]
    heard = asyncio.Event()
    async with upstream(*actions) as server, member_at(server.url, timeouts=Timeouts()) as member:
        task = asyncio.create_task(member.ask(call_of(), (lambda _: heard.set()) if stream else None))
        await asyncio.wait_for(heard.wait() if stream else server.came.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 1)
        assert server.open == 0


async def test_a_stream_may_end_without_being_marked_as_ended() -> None:
    async with upstream(*stream_of(WORD, FINISH)) as server:
        assert await told(server.url, stream=True) == Completion("4")


async def test_a_consumer_that_fails_is_heard() -> None:
    def fail(_: Delta) -> None:
        raise RuntimeError("stop")

    actions = [OPENING, chunk(b"data: " + WORD + b"\n\n"), Stall()]
    async with upstream(*actions) as server, member_at(server.url) as member:
        with pytest.raises(RuntimeError, match="stop"):
            await member.ask(call_of(), fail)
        await asyncio.wait_for(server.left.wait(), 1)


async def test_no_key_shows() -> None:
    async with upstream(reply(OK)) as server, member_at(server.url) as member:
        await member.ask(call_of())
        assert KEY not in repr(vars(member)) + repr(member) + json.dumps(server.asked[0].headers)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_api_in_a_private_network_is_given_images_and_not_their_urls(stream: bool) -> None:
    picture = reply(b"\x89PNG", content_type="image/png")
    actions = streamed(stream_bytes("openai_plain")) if stream else [reply(OK)]
    async with upstream(*actions) as server, upstream(picture, host=PUBLIC) as site:
        url = f"http://site.test:{site.port}/a.png"
        async with member_at(server.url, guard=images(site=PUBLIC)) as member:
            call = call_of(Message("user", (ImagePart(url),)))
            await member.ask(call, (lambda _: None) if stream else None)
    (part,) = server.asked[0].body["messages"][0]["content"]
    assert part["image_url"]["url"] == "data:image/png;base64,iVBORw=="


async def test_a_public_api_is_given_the_urls() -> None:
    url = "https://site.test/a.png"
    names = Names({PRIVATE: "8.8.8.8"})
    guard = ImageUrls(PublicInternet(names.look_up))
    async with upstream(reply(OK)) as server, member_at(server.url, guard=guard) as member:
        await member.ask(call_of(Message("user", (ImagePart(url),))))
    (part,) = server.asked[0].body["messages"][0]["content"]
    assert part["image_url"]["url"] == url
    assert names.asked == [PRIVATE]


async def test_an_image_that_cannot_be_had_is_the_requests_fault() -> None:
    async with upstream(reply(OK)) as server, member_at(server.url) as member:
        with pytest.raises(MemberRejected, match="image_url: the image's host is not a public one") as caught:
            await member.ask(call_of(Message("user", (ImagePart(f"{server.url}/a.png"),))))
        assert caught.value.member == "ada"
        assert server.connections == 0


@pytest.mark.parametrize("api", APIS)
async def test_an_empty_answer_tells_what_it_used(api: Api) -> None:
    async with upstream(reply({**EMPTY[api], **USAGE[api]})) as server:
        with pytest.raises(EmptyCompletion) as caught:
            await told(server.url, stream=False, api=api)
    assert caught.value.usage == Usage(7, 2)


async def test_a_stream_that_breaks_off_tells_what_was_used_until_then() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
    event = b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n"
    for ending, kind in (([Reset()], MalformedReply), ([Stall()], MemberTimeout)):
        async with upstream(OPENING, chunk(event), *ending) as server:
            with pytest.raises(kind) as caught:
                await told(server.url, stream=True, api="anthropic")
        assert caught.value.usage == Usage(7, 1)
