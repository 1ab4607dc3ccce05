"""What a replica hands on and logs holds no key, no prompt and nothing that a server wrote, whatever goes wrong."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import httpx
import pytest

from deployments.members.replica import MemberReplica, Outcome
from deployments.providers.backend import RemoteBackend
from deployments.providers.member import RemoteMember
from deployments.secrets import Secret
from fusion.chat import Message
from fusion.errors import MemberError
from fusion.member import Member
from tests.faults.server import KEY, WAYS, Way, member_at
from tests.remote.upstream import Action, Reset, reply, upstream
from tests.unit.deployments.providers.wire_cases import call_of

PROMPT = "zebra-in-the-prompt"
WRITTEN = "yak-in-the-answer"
INDISCREET = f"You said {PROMPT} with {KEY}, and I say {WRITTEN}."


async def outcome_of(member: Member, way: Way) -> Outcome:
    replica = MemberReplica(member)
    call = call_of(Message("user", f"What is {PROMPT}?"))
    if not way.streamed:
        return await replica.ask(call)
    *_, outcome = [item async for item in replica.watch(call)]
    assert not isinstance(outcome, tuple)
    return outcome


def check_discreet(outcome: Outcome, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(outcome, MemberError)
    told = pickle.dumps(outcome).decode("latin-1") + repr(outcome) + caplog.text
    for secret in (KEY, PROMPT, WRITTEN):
        assert secret not in told


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_fault_is_told_without_what_was_said(way: Way, key: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    complaint = json.dumps(way.provider.complaint(400, "INVALID", INDISCREET)).encode()
    answer = way.answer(INDISCREET)
    faults: list[list[Action]] = [
        *([reply(complaint, f"{status} No")] for status in (400, 401, 404, 429, 500)),
        [way.reply(way.of(complaint))],
        [way.reply(INDISCREET.encode())],
        [way.reply(answer[: answer.index(WRITTEN.encode()) + 9])],
        [reply(INDISCREET.encode(), content_type="text/html")],
        [f"HTTP/1.1 200 OK\r\n{INDISCREET}\r\n\r\n".encode(), Reset()],
        [reply(b"", "302 Found", location=f"http://{PROMPT}/{KEY}")],
    ]
    for actions in faults:
        async with upstream(*actions) as server, member_at(server.url, way, key) as member:
            check_discreet(await outcome_of(member, way), caplog)


class Broken(httpx.AsyncBaseTransport):
    """Raises what nobody foresaw, in the words of the request."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError(f"{INDISCREET} {request.headers} {(await request.aread()).decode()}")


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_bug_is_logged_by_its_place(way: Way, key: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend = RemoteBackend("http://api.test/v1", Secret(file=str(key)), api=way.provider.api)
    member = RemoteMember(backend, "m", transport=Broken())
    outcome = await outcome_of(member, way)
    await member.aclose()
    check_discreet(outcome, caplog)
    assert "member ada: RuntimeError at " in caplog.text
