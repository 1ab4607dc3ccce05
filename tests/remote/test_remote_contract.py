"""Each wire format's member keeps the contract that every member must."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence

import pytest

from deployments.providers.backend import RemoteBackend
from deployments.providers.base import Api
from deployments.providers.member import RemoteMember
from fusion.chat import Message
from tests.remote.upstream import OPENING, Action, Asked, Stall, reply, streamed, upstream
from tests.support.member_contract import CHECKS, Subject
from tests.unit.deployments.providers.wire_cases import call_of
from tests.unit.deployments.providers.wire_shapes import stream_bytes

# With a tool call where the recorded usage allows it.
STREAMS: dict[Api, str] = {"openai": "openai_plain", "anthropic": "anthropic_tools", "gemini": "gemini_tools"}
REPLIES = {
    "openai": {
        "choices": [{"message": {"content": "4"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    "anthropic": {
        "content": [{"type": "text", "text": "4"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
    },
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("api", STREAMS)
async def test_a_remote_member_keeps_the_contract(api: Api, check: Callable[[Subject], Awaitable[None]]) -> None:
    def answer(asked: Asked) -> Sequence[Action]:
        streams = "stream" in asked.line or asked.body.get("stream")
        if "forever" in json.dumps(asked.body):
            return [OPENING, Stall()] if streams else [Stall()]
        return streamed(stream_bytes(STREAMS[api])) if streams else [reply(REPLIES[api])]

    async with upstream(by=answer) as server:

        async def busy() -> bool:
            return server.working > 0

        member = RemoteMember(RemoteBackend(f"{server.url}/v1", api=api), "m")
        try:
            await check(Subject(member, call_of(), call_of(Message("user", "Think forever.")), busy))
        finally:
            await member.aclose()
