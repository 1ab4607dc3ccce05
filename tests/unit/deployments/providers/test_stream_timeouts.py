"""A remote member's time limits at their real lengths, in no time: what is slow is a transport, on the loop's clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import httpx
import pytest

from deployments.providers.backend import RemoteBackend, Timeouts
from deployments.providers.member import RemoteMember
from deployments.providers.response_body import MAX_ERROR_BODY_S
from fusion.chat import Completion, Delta
from fusion.errors import MemberOverloaded, MemberTimeout
from tests.faults.providers import PROVIDERS, Provider, sse
from tests.unit.deployments.providers.wire_cases import call_of

LIMITS = Timeouts()  # 5, 30, 20 and 120 s
NEARLY, TOO = -0.001, 0.001  # in time, and not
EVERY_PROVIDER = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.api)

Pieces = list[tuple[float, bytes]]
"""What is sent, each piece after so many seconds more."""


@dataclass
class Slow(httpx.AsyncBaseTransport, httpx.AsyncByteStream):
    """Answers after `headers_s`, in pieces. `open` is how many answers are under way."""

    pieces: Pieces
    headers_s: float = 0.0
    status: int = 200
    content_type: str = "text/event-stream"
    open: int = field(default=0, init=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self.headers_s)
        self.open += 1
        return httpx.Response(self.status, headers={"content-type": self.content_type}, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for after_s, piece in self.pieces:
            await asyncio.sleep(after_s)
            yield piece

    async def aclose(self) -> None:
        self.open -= 1


async def asked(provider: Provider, slow: Slow, *, timeout_s: float = 1000.0, watched: bool = True) -> Completion:
    """Ask once; whatever comes of it, nothing is left open."""
    member = RemoteMember(RemoteBackend("http://api.test/v1", api=provider.api), "m", transport=slow)
    heard: list[Delta] = []
    try:
        return await member.ask(replace(call_of(), timeout_s=timeout_s), heard.append if watched else None)
    finally:
        assert slow.open == 0


async def runs_out(provider: Provider, slow: Slow, after_s: float, message: str, **more: float | bool) -> None:
    """The call ends at that time, in that error."""
    began_at = asyncio.get_running_loop().time()
    with pytest.raises(MemberTimeout) as caught:
        await asked(provider, slow, **more)  # type: ignore[arg-type]
    assert asyncio.get_running_loop().time() - began_at == pytest.approx(after_s, abs=0.01)
    assert caught.value.message == message


def stream(provider: Provider, *waits_s: float) -> Pieces:
    """A stream with a token after each of the waits."""
    tokens = [(wait_s, sse(provider.token("4 "))) for wait_s in waits_s]
    return [(0.0, sse(*provider.opening())), *tokens, (0.0, sse(*provider.closing()) + provider.done)]


@EVERY_PROVIDER
async def test_the_first_token(provider: Provider) -> None:
    first_s = LIMITS.first_token_s
    assert (await asked(provider, Slow(stream(provider, first_s + NEARLY)))).text == "4 "
    late = [Slow(stream(provider, first_s + TOO)), Slow(stream(provider, 1.0), headers_s=first_s + TOO)]
    late.append(Slow(stream(provider, first_s - 10), headers_s=10 + TOO))  # the headers are no token
    for slow in late:
        await runs_out(provider, slow, first_s, "no first token within 30.0 s")


@EVERY_PROVIDER
async def test_between_tokens(provider: Provider) -> None:
    idle_s = LIMITS.idle_s
    assert (await asked(provider, Slow(stream(provider, 1.0, *[idle_s + NEARLY] * 4)))).text == "4 " * 5
    slow = Slow(stream(provider, 1.0, idle_s + NEARLY, idle_s + TOO))
    await runs_out(provider, slow, 1 + 2 * idle_s, "no token for 20.0 s")


@EVERY_PROVIDER
async def test_comments_are_no_tokens(provider: Provider) -> None:
    alive = [(5.0, b": wait\n\n")] * 100
    await runs_out(provider, Slow(alive), 30.0, "no first token within 30.0 s")
    begun = stream(provider, 1.0)[:-1]
    await runs_out(provider, Slow([*begun, *alive]), 21.0, "no token for 20.0 s")


@EVERY_PROVIDER
async def test_a_whole_call(provider: Provider) -> None:
    await runs_out(provider, Slow(stream(provider, *[10.0] * 13)), 120.0, "no answer within 120.0 s")
    whole = json.dumps(provider.whole("4")).encode()
    slow = Slow([(LIMITS.total_s + NEARLY, whole)], content_type="application/json")
    assert (await asked(provider, slow, watched=False)).text == "4"
    slow = Slow([(LIMITS.total_s + TOO, whole)], content_type="application/json")
    await runs_out(provider, slow, 120.0, "no answer within 120.0 s", watched=False)


@EVERY_PROVIDER
async def test_the_calls_own_time_caps_them_all(provider: Provider) -> None:
    for slow in (Slow([], headers_s=500), Slow(stream(provider, 500)), Slow(stream(provider, 1, 500))):
        await runs_out(provider, slow, 7.0, "no answer within 7.0 s", timeout_s=7.0)


async def test_an_errors_body_is_not_waited_for() -> None:
    """The status says what it is, and nobody's time is used up over what it says besides."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    with pytest.raises(MemberOverloaded):
        await asked(PROVIDERS[0], Slow([(500.0, b"{}")], status=429, content_type="application/json"))
    assert loop.time() - began_at == pytest.approx(MAX_ERROR_BODY_S, abs=0.01)
