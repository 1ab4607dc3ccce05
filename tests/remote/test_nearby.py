"""The short way to a replica on the same machine, over real sockets."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployments.members.local_socket.client import Gone, LocalReplicas, NotHere
from deployments.members.local_socket.member import AskingNearby
from deployments.members.local_socket.paths import listening_in, remove_unused, sockets_of
from deployments.members.local_socket.server import LocalServer
from deployments.members.replica import MemberReplica
from fusion.chat import Call, Completion, Delta, Message, Request
from fusion.errors import MalformedReply, MemberError, MemberUnavailable
from fusion.member import Emit, Member
from fusion.testing import Answer, CutOff, Fail, Hang, ScriptedMember

CALL = Call("ada", Request((Message("user", "What is 2 + 2?"),)), timeout_s=30.0)


class ByHandle:
    """The long way, which notes that it was taken."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        self.asked += 1
        return Completion("by handle")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket's path, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="s") as made:
        yield Path(made)


@asynccontextmanager
async def served(member: Member, folder: Path, max_ongoing: int = 10) -> AsyncIterator[LocalServer]:
    server = LocalServer(MemberReplica(member), folder, max_ongoing)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


async def until(holds: Callable[[], object]) -> None:
    """Wait for it; the test's own time limit bounds this."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def found(folder: Path) -> LocalReplicas:
    """The replicas, once their sockets are known: until then calls are sent the long way."""
    replicas = LocalReplicas(folder)
    with pytest.raises(NotHere):
        await replicas.ask(CALL, None)
    await until(lambda: replicas.known)
    return replicas


async def test_an_answer_in_one_piece(folder: Path) -> None:
    async with served(ScriptedMember(Answer("four")), folder):
        replicas = await found(folder)
        assert await replicas.ask(CALL, None) == Completion("four", usage=Answer("").usage)


async def test_deltas_come_in_order_and_add_up(folder: Path) -> None:
    async with served(ScriptedMember(Answer("two and two are four")), folder):
        replicas = await found(folder)
        heard: list[Delta] = []
        outcome = await replicas.ask(CALL, heard.append)
        assert isinstance(outcome, Completion)
        assert "".join(delta.text for delta in heard) == outcome.text == "two and two are four"


async def test_errors_are_outcomes(folder: Path) -> None:
    async with served(ScriptedMember(Fail(MemberUnavailable("refused"))), folder):
        outcome = await (await found(folder)).ask(CALL, None)
        assert isinstance(outcome, MemberUnavailable)
        assert (outcome.message, outcome.member) == ("refused", "ada")


async def test_many_calls_at_once_each_get_their_own(folder: Path) -> None:
    replies = ScriptedMember(*(Answer(str(number)) for number in range(50)))
    async with served(replies, folder, max_ongoing=100):
        replicas = await found(folder)
        outcomes = await asyncio.gather(*(replicas.ask(CALL, None) for _ in range(50)))
        assert sorted(int(getattr(outcome, "text", "-1")) for outcome in outcomes) == list(range(50))


@pytest.mark.parametrize("emit", [None, lambda _: None])
async def test_a_cancelled_call_is_cancelled_there(folder: Path, emit: Emit | None) -> None:
    member = ScriptedMember(Hang())
    async with served(member, folder) as server:
        replicas = await found(folder)
        asking = asyncio.create_task(replicas.ask(CALL, emit))
        await until(lambda: member.running)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: not server.running)
        assert (member.running, member.cancelled) == (0, 1)


async def test_what_is_too_much_is_sent_the_long_way(folder: Path) -> None:
    member = ScriptedMember(Hang())
    async with served(member, folder, max_ongoing=1):
        replicas = await found(folder)
        first = asyncio.create_task(replicas.ask(CALL, None))
        await until(lambda: member.running)
        with pytest.raises(NotHere):
            await replicas.ask(CALL, None)
        first.cancel()


async def test_a_replica_that_ends_finishes_what_it_has_and_takes_no_more(folder: Path) -> None:
    gate = asyncio.Event()
    member = ScriptedMember(Answer("four"), gate=gate)
    async with served(member, folder) as server:
        replicas = await found(folder)
        asking = asyncio.create_task(replicas.ask(CALL, None))
        await until(lambda: member.running)
        closing = asyncio.create_task(server.close())
        await until(lambda: not replicas.known)
        with pytest.raises(NotHere):
            await replicas.ask(CALL, None)
        gate.set()
        assert getattr(await asking, "text", None) == "four"
        await closing
        assert os.listdir(folder) == []  # noqa: PTH208


@pytest.mark.parametrize("emitted", [False, True])
async def test_a_replica_that_dies_is_noticed_at_once(folder: Path, emitted: bool) -> None:
    heard: list[Delta] = []
    script = [Answer("x", pieces=["two ", "and ", "two"], piece_delay_s=60.0)] if emitted else [Hang()]
    member = ScriptedMember(*script)
    async with served(member, folder) as server:
        replicas = await found(folder)
        asking = asyncio.create_task(replicas.ask(CALL, heard.append))
        await until(lambda: heard if emitted else member.running)
        for connection in [*server.connections]:
            connection.hang_up()
        with pytest.raises(Gone) as gone:
            await asking
        assert gone.value.emitted == emitted


async def test_the_handle_is_asked_where_there_is_no_socket_and_when_one_breaks(folder: Path) -> None:
    handle = ByHandle()
    member = ScriptedMember(Hang())
    nearby = AskingNearby(handle, LocalReplicas(folder))  # type: ignore[arg-type]
    assert (await nearby.ask(CALL)).text == "by handle"
    async with served(member, folder) as server:
        replicas = await found(folder)
        nearby = AskingNearby(handle, replicas)  # type: ignore[arg-type]
        asking = asyncio.create_task(nearby.ask(CALL))
        await until(lambda: member.running)
        for connection in [*server.connections]:
            connection.hang_up()
        assert (await asking).text == "by handle"
    assert handle.asked == 2


async def test_errors_are_raised_and_a_broken_stream_is_not_repeated(folder: Path) -> None:
    handle = ByHandle()
    async with served(ScriptedMember(CutOff(["two "])), folder):
        nearby = AskingNearby(handle, await found(folder))  # type: ignore[arg-type]
        with pytest.raises(MalformedReply):
            await nearby.ask(CALL, lambda _: None)
    assert handle.asked == 0
    assert issubclass(MalformedReply, MemberError)


def test_a_folder_that_others_can_enter_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    first = sockets_of("cluster", "app", "remote:api")
    assert first is not None
    assert first.stat().st_mode & 0o077 == 0
    assert sockets_of("another", "app", "remote:api") != first
    first.parent.chmod(0o755)
    assert sockets_of("cluster", "app", "remote:api") is None


def test_what_nobody_listens_on_any_more_is_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    remove_unused()  # there is nothing yet
    lives, left, empty = (sockets_of("cluster", "app", f"remote:{name}") for name in ("ada", "bob", "cyd"))
    assert lives is not None
    assert left is not None
    assert empty is not None
    with listening_in(lives, "1") as listening:
        listening.listen()
        listening_in(lives, "2").close()
        listening_in(left, "3").close()
        remove_unused()
        assert [path.name for path in lives.iterdir()] == ["1"]
        assert not left.exists()
        assert not empty.exists()


async def test_a_folder_that_was_removed_is_made_anew_by_who_listens(folder: Path) -> None:
    gone = folder / "gone"
    local = LocalReplicas(gone)
    with pytest.raises(NotHere):
        await local.ask(CALL, None)
    async with served(ScriptedMember(Answer("four")), gone):
        await until(lambda: gone.exists())
        local._looked_at = None
        with pytest.raises(NotHere):
            await local.ask(CALL, None)
        await until(lambda: local.known)
        outcome = await local.ask(CALL, None)
    assert isinstance(outcome, Completion)
    assert outcome.text == "four"
