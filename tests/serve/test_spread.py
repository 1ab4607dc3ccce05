"""Calls are spread over a deployment's replicas, those with a local socket and those without, on a real Serve."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from ray.serve.config import RequestRouterConfig

from deployments.members.local_socket.member import LocalFirstMember, reach
from deployments.members.local_socket.router import SocketAwareRouter
from deployments.members.replica import MemberReplica
from fusion.chat import Call, Completion, Message, Request
from fusion.member import Emit
from tests.serve.conftest import Served

CALL = Call("ada", Request((Message("user", "Who are you?"),)), timeout_s=30.0)
CALLS = 40


class Slow:
    """Answers after a second with the id of its process."""

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        await asyncio.sleep(1.0)
        return Completion(str(os.getpid()))


class HalfNear(MemberReplica):
    """One of its replicas listens, as if the others were on other machines."""

    def __init__(self, listener: str) -> None:
        super().__init__(Slow())
        try:
            Path(listener).touch(exist_ok=False)
        except FileExistsError:
            return
        self.listen(max_ongoing=1000)


@pytest.mark.timeout(180)
async def test_a_replica_with_a_socket_is_no_busier_than_one_without(served: Served, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "name": "half-near",
        "num_replicas": 2,
        "max_ongoing_requests": 1000,
        "ray_actor_options": {"num_cpus": 0},
        "request_router_config": RequestRouterConfig(request_router_class=SocketAwareRouter),
    }
    app = serve.deployment(HalfNear, **options).bind(str(tmp_path / "listener"))
    handle = await asyncio.to_thread(serve.run, app, name="spread", route_prefix=None)
    try:
        member = reach(handle, local_sockets=True)
        assert isinstance(member, LocalFirstMember)
        ends_at = time.monotonic() + 30
        while member._connection() is None:
            assert time.monotonic() < ends_at, "the socket was not found"
            await member.status(["ada"])
            await asyncio.sleep(0.1)
        completions = await asyncio.gather(*(member.ask(CALL) for _ in range(CALLS)))
        assert [count for _, count in Counter(each.text for each in completions).items()] == [CALLS // 2, CALLS // 2]
    finally:
        await asyncio.to_thread(serve.delete, "spread")
