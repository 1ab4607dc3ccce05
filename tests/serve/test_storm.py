"""A storm: four hundred fused requests, a hundred at a time, over a panel of five providers each of which misbehaves in
one call of ten, in a way of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from httpx_aiohttp import HttpxAiohttpClient
from ray import serve

from cluster.config.loader import load
from cluster.serving.app import build
from tests.remote.upstream import OPENING, Action, Asked, Reset, Stall, Upstream, chunk, reply, streamed, upstream
from tests.serve.conftest import Served, series

REQUESTS = 400
AT_ONCE = 100
DEADLINE_S = 30.0
PANEL = ("overloaded", "resets", "stalls", "babbles", "breaks-off")
TOTAL_S = 3.0

ANSWER = {
    "choices": [{"message": {"content": "It is four."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 4},
}
WORDS = [b'{"choices":[{"delta":{"content":"It is four."}}]}', b'{"choices":[{"delta":{},"finish_reason":"stop"}]}']
STREAM = streamed(b"".join(b"data: " + line + b"\n\n" for line in [*WORDS, b"[DONE]"]))
HALF = [OPENING, chunk(b"data: " + WORDS[0] + b"\n\n")]
OVERLOAD = reply({"error": {"message": "busy", "type": "overloaded"}}, "503 Service Unavailable")
PAGE = reply(b"<html>Please log in.</html>", content_type="text/html")

FAULTS: dict[str, tuple[Sequence[Action], Sequence[Action]]] = {
    "overloaded": ([OVERLOAD], [OVERLOAD]),
    "resets": ([Reset()], [Reset()]),
    "stalls": ([Stall()], [*HALF, Stall()]),
    "babbles": ([PAGE], [PAGE]),
    "breaks-off": ([reply(ANSWER)[:-20], Reset()], [*HALF, Reset()]),
}
"""What each does in its tenth call: to one that does not stream, and to one that does."""


@dataclass
class Providers:
    """Five of them at one server. Every tenth call to each goes wrong."""

    calls: dict[str, Iterator[int]] = field(default_factory=lambda: {name: itertools.count(1) for name in PANEL})
    faults: Counter[str] = field(default_factory=Counter[str])

    def __call__(self, asked: Asked) -> Sequence[Action]:
        name: str = asked.body["model"]
        streams: bool = asked.body.get("stream", False)
        if next(self.calls[name]) % 10 == 0:
            self.faults[name] += 1
            return FAULTS[name][streams]
        return STREAM if streams else [reply(ANSWER)]


def config(url: str) -> dict[str, Any]:
    backend = {"kind": "remote", "base_url": f"{url}/v1", "timeouts": {"total_s": TOTAL_S, "idle_s": 1.0}}
    hedges = {"stalls": {"hedge": "resets"}}
    return {
        "backends": dict.fromkeys(PANEL, backend),
        "members": {name: {"backend": name, "model": name, **hedges.get(name, {})} for name in PANEL},
        "presets": {
            "fusion/merge": {
                "mode": "merge",
                "panel": list(PANEL),
                "judge": ["resets", "babbles"],
                "quorum": 2,
                "deadline_s": DEADLINE_S,
            },
            "fusion/alone": {"mode": "merge", "panel": ["stalls"], "quorum": 1, "judge": "resets"},
        },
    }


async def fused(
    client: httpx.AsyncClient, number: int, model: str = "fusion/merge"
) -> tuple[int, float, dict[str, Any]]:
    """Ask once; streamed every other time. The status, the seconds that it took, and what is said of the fusion."""
    body = {"model": model, "messages": [{"role": "user", "content": f"What is 2 + 2? ({number})"}]}
    began_at = time.monotonic()
    if number % 2:
        response = await client.post("v1/chat/completions", json=body)
        answer = response.json()
        return response.status_code, time.monotonic() - began_at, answer.get("fusion", answer)
    response = await client.post("v1/chat/completions", json={**body, "stream": True})
    took_s = time.monotonic() - began_at
    whole = response.text.endswith("data: [DONE]\n\n") and '"error":{"message"' not in response.text.split("fusion")[0]
    return response.status_code if whole else 0, took_s, {"text": response.text[-2000:]}


async def storm(url: str, requests: int) -> list[tuple[int, float, dict[str, Any]]]:
    turns = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with HttpxAiohttpClient(base_url=url, timeout=DEADLINE_S + 10, limits=limits, trust_env=False) as client:

        async def one(number: int) -> tuple[int, float, dict[str, Any]]:
            async with turns:
                return await fused(client, number)

        return await asyncio.gather(*(one(number) for number in range(requests)))


async def calm(url: str, requests: int) -> None:
    """Ask the member that stalls alone, one request after the other: each call but the tenth answers at once, so that a
    second one is certain to be made for one that does not."""
    async with HttpxAiohttpClient(base_url=url, timeout=DEADLINE_S, trust_env=False) as client:
        for number in range(requests):
            await fused(client, number, "fusion/alone")


def replicas() -> list[psutil.Process]:
    """The processes of the application's replicas."""
    return [process for process in psutil.process_iter() if "ServeReplica:storm:" in " ".join(_line(process))]


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def until_idle(server: Upstream, url: str) -> dict[str, Any]:
    """Wait until no call is under way upstream. The service's own word on its members then."""
    async with asyncio.timeout(TOTAL_S + 10):
        while server.working:  # noqa: ASYNC110 - a stalled call ends when its member lets go
            await asyncio.sleep(0.1)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return (await client.get("readyz", timeout=10)).json()


@pytest.mark.timeout(400)
async def test_a_storm(served: Served, tmp_path: Path) -> None:
    providers = Providers()
    async with upstream(by=providers) as server:
        file = tmp_path / "storm.yaml"
        file.write_text(yaml.safe_dump(config(server.url)))
        app = build(load(file))
        await asyncio.to_thread(serve.run, app, name="storm", route_prefix="/storm")
        url = f"{served.url}/storm"
        try:
            await calm(url, 80)
            await storm(url, 2 * AT_ONCE)
            await until_idle(server, url)
            before = {process.pid: (process.memory_info().rss, process.num_fds()) for process in replicas()}
            assert len(before) == 1 + len(PANEL)
            counted = {name: len([a for a in server.asked if a.body["model"] == name]) for name in PANEL}
            server.asked.clear()

            outcomes = await storm(url, REQUESTS)

            state = await until_idle(server, url)
            assert Counter(status for status, _, _ in outcomes) == {200: REQUESTS}
            assert max(took_s for _, took_s, _ in outcomes) < DEADLINE_S
            check_outcomes([fusion for _, _, fusion in outcomes if "candidates" in fusion])
            assert all(providers.faults[name] >= REQUESTS / 10 for name in PANEL)
            assert state["members"] == {name: {"ready": True, "breaker": "closed"} for name in PANEL}
            asked = {name: counted[name] + len([a for a in server.asked if a.body["model"] == name]) for name in PANEL}
            server.asked.clear()
            await asyncio.sleep(6)  # by then idle connections are closed, and the last counts exported
            check_budgets(asked)
            for process in replicas():
                memory, files = before[process.pid]
                assert process.memory_info().rss < 1.1 * memory, (process.cmdline(), memory)
                assert process.num_fds() <= files + 10, process.cmdline()
        finally:
            await asyncio.to_thread(serve.delete, "storm")


def check_outcomes(fusions: list[dict[str, Any]]) -> None:
    """Every request had its quorum, every candidate its outcome, and every kind of fault showed up as what it was."""
    codes: dict[str, Counter[str]] = {name: Counter() for name in PANEL}
    for fusion in fusions:
        assert [candidate["member"] for candidate in fusion["candidates"]] == list(PANEL)
        assert sum(candidate["status"] == "answered" for candidate in fusion["candidates"]) >= 2
        for candidate in fusion["candidates"]:
            if candidate["error"]:
                codes[candidate["member"]][candidate["error"]["code"]] += 1
    assert set(codes["overloaded"]) == {"overloaded"}
    assert set(codes["resets"]) <= {"unavailable"}
    assert set(codes["babbles"]) <= {"malformed_reply"}
    assert set(codes["breaks-off"]) <= {"malformed_reply"}


def check_budgets(asked: dict[str, int]) -> None:
    """Repetitions are at most a tenth of the calls and the three that there are from the start; second calls at most
    one in twenty. Both happened."""
    retries = {name: series("fusion_member_retries_total", name) or 0 for name in PANEL}
    hedges = series("fusion_member_hedges_total", "stalls") or 0
    for name in PANEL:
        assert retries[name] <= 3 + 0.1 * (asked[name] - retries[name]), name
    assert retries["overloaded"] == 0
    assert retries["resets"] > 0
    assert 0 < hedges <= 0.05 * asked["stalls"]
