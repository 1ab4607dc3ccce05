"""A vLLM engine's own tokenizer and chat template, asked in the engine's process.

Tokens are counted as `/tokenize` does it, so that the count is what the engine itself will find. vLLM tokenizes beside
the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

from ray.serve.llm import LLMServer

from deployments.providers.openai.requests import chat_body
from deployments.vllm.internals import TokenizeChatRequest, TokenizeCompletionRequest
from fusion.chat import Call
from fusion.errors import MemberUnavailable
from fusion.limits.eligibility import without_images


async def engine_tokens(server: LLMServer, model_id: str, call: Call, texts: Sequence[str]) -> tuple[int, ...]:
    """How many tokens the call's prompt has, images left out, and each of the texts alone.

    An engine is not given the images: it would fetch those that are URLs, and work on all of them.

    Raises:
        MemberUnavailable: the engine cannot say.
    """
    body = chat_body(replace(call, request=without_images(call.request)), model_id, stream=False)
    prompt = TokenizeChatRequest(**{name: body[name] for name in _PROMPT if name in body})
    counted = [await _tokens(server, prompt)]
    for text in texts:
        alone = TokenizeCompletionRequest(model=model_id, prompt=text, add_special_tokens=False)
        counted.append(await _tokens(server, alone) if text else 0)
    return tuple(counted)


_PROMPT = ("model", "messages", "tools")


async def _tokens(server: LLMServer, request: TokenizeChatRequest | TokenizeCompletionRequest) -> int:
    replies: AsyncIterator[Any] = cast("Any", await server.tokenize(request))
    async for reply in replies:
        count = getattr(reply, "count", None)
        if isinstance(count, int):
            return count
    raise MemberUnavailable("the engine did not count the tokens")
