"""An OpenAI-compatible server on the loopback address whose every answer takes a known time.

A model's name says how long: `after-1500` answers after 1500 ms. Run as `python -m tests.scaling.upstream`, it prints
its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

ANSWER = "It is four, as far as anyone can tell."


async def _chat(request: web.Request) -> web.StreamResponse:
    body: dict[str, Any] = await request.json()
    await asyncio.sleep(int(body["model"].removeprefix("after-")) / 1e3)
    usage = {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18}
    head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": ANSWER}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    for word in ANSWER.split(" "):
        await _send(reply, {**head, "choices": [{"index": 0, "delta": {"content": f"{word} "}}]})
    await _send(reply, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await _send(reply, {**head, "choices": [], "usage": usage})
    await reply.write(b"data: [DONE]\n\n")
    return reply


async def _send(reply: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await reply.write(f"data: {json.dumps({'object': 'chat.completion.chunk', **chunk})}\n\n".encode())


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
