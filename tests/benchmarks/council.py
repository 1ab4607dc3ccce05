"""A council as one writes it by hand: FastAPI, three calls at once, and a judge model that merges, on httpx over
aiohttp.

Straight on the upstream it is the floor under all that fuses in Python; on a LiteLLM proxy it is what many run. It
waits for everyone, knows no deadline, retries nothing and reports nothing.

usage: council.py PORT BASE_URL
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from httpx_aiohttp import HttpxAiohttpClient
from pydantic import BaseModel

MEMBERS = ("a", "b", "c")
JUDGE = "judge"


class Chat(BaseModel):
    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    max_tokens: int | None = None


def application(base_url: str) -> FastAPI:
    """The council, asking the models behind an OpenAI-compatible server."""
    clients: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=0, max_keepalive_connections=None)
        headers = {"authorization": "Bearer sk-none"}
        async with HttpxAiohttpClient(base_url=base_url, timeout=120, limits=limits, headers=headers) as client:
            clients.append(client)
            yield

    app = FastAPI(lifespan=lifespan)

    async def ask(model: str, messages: list[dict[str, Any]], max_tokens: int | None) -> str:
        body = {"model": model, "messages": messages, "max_tokens": max_tokens}
        reply = await clients[0].post("/chat/completions", json=body)
        reply.raise_for_status()
        return reply.json()["choices"][0]["message"]["content"]

    async def relayed(messages: list[dict[str, Any]], max_tokens: int | None) -> AsyncIterator[bytes]:
        body = {"model": JUDGE, "messages": messages, "max_tokens": max_tokens, "stream": True}
        async with clients[0].stream("POST", "/chat/completions", json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if line:
                    yield line.encode() + b"\n\n"

    @app.post("/v1/chat/completions")
    async def fuse(chat: Chat) -> Any:
        candidates = await asyncio.gather(*(ask(member, chat.messages, chat.max_tokens) for member in MEMBERS))
        shown = "\n\n".join(f"Answer {i}:\n{text}" for i, text in enumerate(candidates, 1))
        merge = {"role": "system", "content": f"Merge these answers into one, and answer the user yourself.\n\n{shown}"}
        messages = [merge, *chat.messages]
        if chat.stream:
            return StreamingResponse(relayed(messages, chat.max_tokens), media_type="text/event-stream")
        content = await ask(JUDGE, messages, chat.max_tokens)
        message = {"role": "assistant", "content": content}
        return {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 1,
            "model": chat.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False
    )
