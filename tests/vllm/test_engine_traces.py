"""What an engine is told of a call's trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from ray.serve.llm.openai_api_models import ChatCompletionResponse

from deployments.vllm.member import EngineMember
from tests.vllm.engines import call

PARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
REPLY = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class _Engine:
    """Notes the headers that come with a request, and answers."""

    heard: Any = "nothing was asked"

    async def chat(self, request: Any, headers: Any) -> AsyncIterator[Any]:
        self.heard = headers

        async def replies() -> AsyncIterator[Any]:
            yield ChatCompletionResponse.model_validate(REPLY)

        return replies()


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("headers", [(PARENT,), ()])
async def test_an_engine_that_makes_spans_is_told_of_the_calls(traced: bool, headers: tuple[Any, ...]) -> None:
    engine: Any = _Engine()
    asked = replace(call("2 + 2?", 8), trace_headers=headers)
    assert (await EngineMember(engine, "m", traced=traced).ask(asked)).text == "four"
    assert (engine.heard and engine.heard.headers) == (dict(headers) if traced and headers else None)
