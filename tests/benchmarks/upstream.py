"""An OpenAI-compatible server whose models take a fixed time, as bare as can be: it must not be what is measured.

Every answer names who gave it, and the judge model's answer names the candidates that it was shown, so that whoever
asks can tell a right answer from a wrong one.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from functools import lru_cache
from typing import cast

import uvloop

from tests.benchmarks.work import CHUNK_GAP_S, CHUNKS, JUDGE, MEMBERS, PANEL, latency_s

_ASKED = re.compile(rb"\[(\w+) q=(\d+)\]")
_MODEL = re.compile(rb'"model":\s*"(?:[\w-]+/)?([\w-]+)"')
_STREAM = re.compile(rb'"stream":\s*true')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_SHOWN = re.compile(rb"Candidate of (\w) to q=(\d+):")
_FILLER = (
    "By Little's law the mean time in the system is the number of requests in it, divided by the rate at which they "
    "come: forty replicas with two hundred each hold eight thousand, so a request takes one second. With thirty-two "
    "replicas the room shrinks to six thousand four hundred, and if all of it is used at the same service time the "
    "rate falls to six thousand four hundred a second; the rest has to wait, or be refused."
)
_USAGE = {"prompt_tokens": 150, "completion_tokens": 100, "total_tokens": 250}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def fused(question: int, seen: tuple[str, ...]) -> str:
    """What the judge model says of a question, of which it was shown these members' candidates."""
    return f"Fused q={question} of {''.join(seen)}: {_FILLER}"


def _candidate(member: str, question: int) -> str:
    return f"Candidate of {member} to q={question}: {_FILLER}"


def _texts(model: str, body: bytes, question: int) -> tuple[float, list[str]]:
    """Which share of the model's time a request takes, and its answers."""
    if model in MEMBERS:
        return 1.0, [_candidate(model, question)]
    seen = tuple(sorted({name.decode() for name, number in _SHOWN.findall(body) if int(number) == question}))
    if model == JUDGE:
        return 1.0, [fused(question, seen)]
    if not seen:
        return 1.0, [_candidate(member, question) for member in MEMBERS]
    return 0.5, [fused(question, seen)]


@lru_cache(maxsize=4096)
def _reply(model: str, texts: tuple[str, ...]) -> bytes:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    reply = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1, "model": model}
    content = json.dumps({**reply, "choices": choices, "usage": _USAGE}).encode()
    return _HEAD % (len(content), content)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_ends := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, head_ends)
            ends = head_ends + 4 + (int(length[1]) if length else 0)
            if len(self._received) < ends:
                return
            body = bytes(self._received[head_ends + 4 : ends])
            del self._received[:ends]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        asked, named = _ASKED.search(body), _MODEL.search(body)
        if asked is None or named is None:
            # Those who start up, or look after themselves, ask for something else.
            self._write(_HEAD % (2, b"{}") if named is None else _reply(named[1].decode(), ("ready",)))
            return
        scenario, question, model = asked[1].decode(), int(asked[2]), named[1].decode()
        share, texts = _texts(model, body, question)
        slowest = [*MEMBERS] if model == PANEL and share == 1.0 else [JUDGE if model == PANEL else model]
        wait_s = share * max(latency_s(scenario, name, question) for name in slowest)
        if _STREAM.search(body):
            self._loop.call_later(wait_s, self._stream, model, texts[0])
        elif wait_s:
            self._loop.call_later(wait_s, self._write, _reply(model, tuple(texts)))
        else:
            self._write(_reply(model, tuple(texts)))

    def _stream(self, model: str, text: str) -> None:
        size = -(-len(text) // CHUNKS)
        self._write(_STREAM_HEAD)
        self._next_piece(model, [text[i : i + size] for i in range(0, len(text), size)], 0)

    def _next_piece(self, model: str, pieces: list[str], at: int) -> None:
        if at < len(pieces):
            self._write(_event(model, b'[{"index":0,"delta":{"content":%b},"finish_reason":null}]' % _json(pieces[at])))
            self._loop.call_later(CHUNK_GAP_S, self._next_piece, model, pieces, at + 1)
            return
        self._write(
            _event(model, b'[{"index":0,"delta":{},"finish_reason":"stop"}]')
            + _event(model, b"[]", b',"usage":%b' % _json(_USAGE))
            + _chunk(b"data: [DONE]\n\n")
            + b"0\r\n\r\n"
        )

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)


def _event(model: str, choices: bytes, more: bytes = b"") -> bytes:
    head = b'{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1,"model":%b,"choices":' % _json(model)
    return _chunk(b"data: %b%b%b}\n\n" % (head, choices, more))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
