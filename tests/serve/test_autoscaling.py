"""The judge deployment follows its load up."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from httpx_aiohttp import HttpxAiohttpClient
from ray import serve

from cluster.config.loader import load
from cluster.serving.app import build
from tests.serve.conftest import Served, scripted_config
from tests.serve.scripted import SCRIPTED, scripted_deployment

CLIENTS = 12
FOLLOWS_WITHIN_S = 10.0


def replicas(*states: str) -> int:
    """Judge replicas in these states."""
    known = serve.status().applications["scaled"].deployments["judge"].replica_states
    return sum(known.get(state, 0) for state in states)


async def seconds_until(wanted: int, *states: str) -> float:
    """How long it takes until there are so many replicas in these states, a minute at most."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    async with asyncio.timeout(60):
        while await asyncio.to_thread(replicas, *states) < wanted:  # noqa: ASYNC110 - the controller tells nobody
            await asyncio.sleep(0.2)
    return loop.time() - began_at


@pytest.mark.timeout(180)
async def test_replicas_follow_the_load_and_no_request_fails(served: Served, tmp_path: Path) -> None:
    config: dict[str, Any] = scripted_config()
    config["judge"] = {"replicas": {"min": 1, "max": 3}, "target_queue_depth": 4}
    file = tmp_path / "scaled.yaml"
    file.write_text(yaml.safe_dump(config))
    loaded = load(file)
    app = build(loaded, dict.fromkeys(SCRIPTED, scripted_deployment()))
    await asyncio.to_thread(serve.run, app, name="scaled", route_prefix="/scaled")
    assert replicas("RUNNING") == 1
    statuses: Counter[int] = Counter()
    body = {"model": "slow", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}

    async def keep_asking(client: httpx.AsyncClient) -> None:
        while True:
            statuses[(await client.post("v1/chat/completions", json=body)).status_code] += 1

    try:
        async with HttpxAiohttpClient(base_url=f"{served.url}/scaled", timeout=60, trust_env=False) as client:
            asking = [asyncio.create_task(keep_asking(client)) for _ in range(CLIENTS)]
            decided_s = await seconds_until(3, "STARTING", "RUNNING")
            await seconds_until(3, "RUNNING")
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
    finally:
        await asyncio.to_thread(serve.delete, "scaled")
    assert decided_s < FOLLOWS_WITHIN_S
    assert set(statuses) == {200}
