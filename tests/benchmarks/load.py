"""Clients that ask one question after the other, in a process of their own: a specification comes in on standard input,
what they saw goes out on standard output, both as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import aiohttp
import uvloop

from tests.benchmarks.upstream import fused
from tests.benchmarks.work import MEMBERS, critical_path_s, question_text

_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Spec:
    """Whom to ask, as which model, and how much; see `Work` for the rest."""

    url: str
    model: str
    scenario: str
    clients: int
    for_s: float | None
    stream: bool
    seen_at_least: int
    first_question: int = 1


@dataclass(slots=True)
class Seen:
    """What the clients saw, times in milliseconds. `added_ms` is over each question's critical path; `first_ms` is
    until the first piece of a streamed answer, over the critical path. `failures` are counted by their kind."""

    latency_ms: list[float] = field(default_factory=list[float])
    added_ms: list[float] = field(default_factory=list[float])
    first_ms: list[float] = field(default_factory=list[float])
    chunks: int = 0
    wrong: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    took_s: float = 0.0

    def failed(self, kind: str) -> None:
        self.failures[kind] = self.failures.get(kind, 0) + 1


_RIGHT = {2: ("ab", "ac", "bc", "abc"), 3: ("abc",)}


def is_right(text: str, question: int, seen_at_least: int) -> bool:
    """Whether this is the judge model's own answer to the question, written from enough candidates."""
    return any(text == fused(question, tuple(seen)) for seen in _RIGHT[seen_at_least])


async def run(spec: Spec) -> Seen:
    """Ask until the time is over, or once a client."""
    seen = Seen()
    questions = count(spec.first_question)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = time.perf_counter()
        ends = None if spec.for_s is None else began + spec.for_s

        async def client() -> None:
            while True:
                await _ask(session, spec, next(questions), seen)
                if ends is None or time.perf_counter() >= ends:
                    return

        await asyncio.gather(*(client() for _ in range(spec.clients)))
        seen.took_s = time.perf_counter() - began
    return seen


async def _ask(session: aiohttp.ClientSession, spec: Spec, question: int, seen: Seen) -> None:
    critical_s = critical_path_s(spec.scenario, question)
    message = {"role": "user", "content": question_text(spec.scenario, question)}
    body = {"model": spec.model, "messages": [message], "stream": spec.stream, "max_tokens": 512}
    began = time.perf_counter()
    try:
        async with session.post(spec.url, json=body) as response:
            if response.status != 200:
                await response.read()
                seen.failed(f"HTTP {response.status}")
                return
            if spec.stream:
                text, first_at, chunks = await _read_stream(response)
            else:
                reply = json.loads(await response.read())
                text, first_at, chunks = reply["choices"][0]["message"]["content"], None, 0
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError) as error:
        seen.failed(type(error).__name__)
        return
    took_s = time.perf_counter() - began
    if not is_right(text, question, spec.seen_at_least):
        seen.wrong += 1
        return
    seen.latency_ms.append(took_s * 1e3)
    seen.added_ms.append((took_s - critical_s) * 1e3)
    seen.chunks += chunks
    if first_at is not None:
        seen.first_ms.append((first_at - began - critical_s) * 1e3)


async def _read_stream(response: aiohttp.ClientResponse) -> tuple[str, float | None, int]:
    """The text, when its first piece came, and in how many pieces."""
    pieces: list[str] = []
    first_at: float | None = None
    async for line in response.content:
        if not line.startswith(b"data: {"):
            continue
        choices: list[dict[str, Any]] = json.loads(line[6:]).get("choices") or []
        if choices and (piece := choices[0]["delta"].get("content")):
            first_at = first_at or time.perf_counter()
            pieces.append(piece)
    return "".join(pieces), first_at, len(pieces)


assert len(MEMBERS) == 3

if __name__ == "__main__":
    json.dump(asdict(uvloop.run(run(Spec(**json.load(sys.stdin))))), sys.stdout)
