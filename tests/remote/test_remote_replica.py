"""The members of one remote backend in one replica, against a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from deployments.members.replica import MemberStatus
from deployments.providers.backend import RemoteBackend
from deployments.providers.replica import RemoteMembers, RemoteModel, RemoteSettings
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import LimitSettings
from deployments.resilience.retries import RetrySettings
from fusion.errors import BreakerOpen, MemberUnavailable
from tests.remote.test_remote_member import OK
from tests.remote.upstream import Asked, Reset, Stall, Upstream, reply, upstream
from tests.unit.deployments.providers.wire_cases import call_of


def members_at(url: str, limits: LimitSettings | None = None, **models: str) -> RemoteMembers:
    members = RemoteMembers(
        RemoteSettings(
            RemoteBackend(f"{url}/v1"),
            RetrySettings(attempts=1),
            BreakerSettings(failures=1),
            limits or LimitSettings(),
        )
    )
    members.serve({name: named(model) for name, model in models.items()})
    return members


def named(model: str, *omits: str) -> RemoteModel:
    return RemoteModel(model=model, omits=list(omits))


def asks(name: str) -> Any:
    return replace(call_of(), member=name)


def broken(asked: Asked) -> list[Any]:
    """The model `broken` resets its connections, and every other one answers."""
    return [Reset()] if asked.body["model"] == "broken" else [reply(OK)]


async def open_breaker(members: RemoteMembers, name: str) -> None:
    with pytest.raises(MemberUnavailable):
        await members.ask(asks(name))
    with pytest.raises(BreakerOpen):
        await members.ask(asks(name))


async def test_each_member_is_asked_as_its_own_model_over_one_client() -> None:
    async with upstream(by=broken) as server:
        members = members_at(server.url, ada="a", bob="b")
        for name in ("ada", "bob"):
            assert (await members.ask(asks(name))).text == "4"
        assert [asked.body["model"] for asked in server.asked] == ["a", "b"]
        assert server.connections == 1
        await members.aclose()


async def test_a_failing_model_opens_the_breaker_of_its_own_member_alone() -> None:
    async with upstream(by=broken) as server:
        members = members_at(server.url, ada="broken", bob="b")
        await open_breaker(members, "ada")
        assert (await members.ask(asks("bob"))).text == "4"
        assert members.status("ada") == MemberStatus(ready=False, breaker="open")
        assert members.status("bob") == MemberStatus(ready=True, breaker="closed")
        await members.aclose()


async def test_the_members_share_their_backends_limit() -> None:
    async with upstream(Stall()) as server:
        members = members_at(server.url, LimitSettings(concurrency=1), ada="a", bob="b")
        calls = [asyncio.create_task(members.ask(asks(name))) for name in ("ada", "bob")]
        await until_working(server, 1)
        counters = {name: each.counters() for name, each in members.members.items()}
        assert [counters[name]["limit_running"] for name in ("ada", "bob")] == [1, 0]
        assert [counters[name]["limit_queued"] for name in ("ada", "bob")] == [0, 1]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await members.aclose()


async def test_a_member_whose_model_is_unchanged_keeps_its_breaker() -> None:
    async with upstream(by=broken) as server:
        members = members_at(server.url, ada="broken", bob="broken")
        for name in ("ada", "bob"):
            await open_breaker(members, name)
        members.serve({"ada": named("broken"), "bob": named("b"), "cyd": named("c")})
        assert [members.status(name).breaker for name in ("ada", "bob", "cyd")] == ["open", "closed", "closed"]
        assert (await members.ask(asks("cyd"))).text == "4"
        await members.aclose()


async def test_a_member_that_is_not_served_is_unavailable() -> None:
    async with upstream(by=broken) as server:
        members = members_at(server.url, ada="a")
        members.serve({"bob": named("b")})
        with pytest.raises(MemberUnavailable, match="does not serve it"):
            await members.ask(asks("ada"))
        assert members.status("ada") == MemberStatus(ready=False)
        await members.aclose()


async def until_working(server: Upstream, calls: int) -> None:
    while server.working < calls:  # noqa: ASYNC110 - the test's own time limit bounds this
        await asyncio.sleep(0.001)
