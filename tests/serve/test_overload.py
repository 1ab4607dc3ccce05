"""More requests than the judge takes: some run, some wait, and the rest are told to come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
import yaml
from httpx_aiohttp import HttpxAiohttpClient
from ray import serve

from cluster.config.loader import load
from cluster.serving.app import build
from tests.serve.conftest import Served, scripted_config
from tests.serve.scripted import SCRIPTED, scripted_deployment


@pytest.fixture(scope="module")
def crowded(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two requests at once, and two that wait."""
    config = scripted_config() | {"judge": {"max_ongoing": 2, "max_queued": 2}}
    file = tmp_path_factory.mktemp("crowded") / "crowded.yaml"
    file.write_text(yaml.safe_dump(config))
    loaded = load(file)
    members = dict.fromkeys(SCRIPTED, scripted_deployment())
    serve.run(build(loaded, members), name="crowded", route_prefix="/crowded")
    yield f"{served.url}/crowded/v1/chat/completions"
    serve.delete("crowded")


async def asked_at_once(url: str, times: int, **more: object) -> list[tuple[httpx.Response, float]]:
    """The replies, and the seconds that each took. Each request takes one second of work."""
    body = {"model": "slow", "messages": [{"role": "user", "content": "What is 2 + 2?"}], **more}
    async with HttpxAiohttpClient(timeout=30, trust_env=False) as client:

        async def one() -> tuple[httpx.Response, float]:
            began_at = time.monotonic()
            response = await client.post(url, json=body)
            return response, time.monotonic() - began_at

        return await asyncio.gather(*(one() for _ in range(times)))


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_too_much_is_refused_at_once_and_the_rest_is_served(crowded: str, stream: bool) -> None:
    replies = await asked_at_once(crowded, 10, stream=stream)
    served = sorted(took_s for response, took_s in replies if response.status_code == 200)
    refused = [(response, took_s) for response, took_s in replies if response.status_code == 429]
    assert (len(served), len(refused)) == (4, 6)
    assert served[1] < 1.9 < served[2] < 3.5
    for response, took_s in refused:
        assert took_s < 0.9
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["x-request-id"]
        assert response.json()["error"] == {
            "message": "2 calls are queued already",
            "type": "rate_limit_error",
            "param": None,
            "code": "limit_reached",
        }


async def test_a_wait_is_no_longer_than_the_deadline(crowded: str) -> None:
    busy = asyncio.create_task(asked_at_once(crowded, 2, model="stubborn"))
    await asyncio.sleep(0.3)
    ((response, took_s),) = await asked_at_once(crowded, 1, model="fusion/merge", fusion={"deadline_s": 0.5})
    await busy
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "limit_reached"
    assert took_s < 1.5


async def test_turns_are_given_back_by_clients_that_go_away(crowded: str) -> None:
    async with HttpxAiohttpClient(timeout=0.3, trust_env=False) as client:
        body = {"model": "hangs", "messages": [{"role": "user", "content": "?"}]}
        gone = [client.post(crowded, json=body) for _ in range(4)]
        assert all(
            isinstance(end, httpx.TimeoutException) for end in await asyncio.gather(*gone, return_exceptions=True)
        )
    await asyncio.sleep(1)
    assert [response.status_code for response, _ in await asked_at_once(crowded, 4)] == [200] * 4
