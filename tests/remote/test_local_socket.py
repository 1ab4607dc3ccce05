"""Calls to a replica on the same machine, over real sockets."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployments.members.local_socket.client import Connection, ConnectionLost, LocalReplicas, ReplicaFull
from deployments.members.local_socket.known_replicas import KnownReplicas
from deployments.members.local_socket.member import LocalFirstMember
from deployments.members.local_socket.paths import listening_in, remove_unused, sockets_of
from deployments.members.local_socket.server import LocalServer
from deployments.members.replica import MemberReplica
from fusion.chat import Call, Completion, Delta, Message, Request
from fusion.errors import MalformedReply, MemberError, MemberUnavailable
from fusion.member import Emit, Member
from fusion.testing import Answer, CutOff, Fail, Hang, ScriptedMember

CALL = Call("ada", Request((Message("user", "What is 2 + 2?"),)), timeout_s=30.0)


class ByHandle:
    """A handle's member that counts its calls. Each takes as long as `gate` is closed."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.asked = 0
        self._gate = gate

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        self.asked += 1
        if self._gate is not None:
            await self._gate.wait()
        return Completion("by handle")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket's path, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="s") as made:
        yield Path(made)


@asynccontextmanager
async def served(member: Member, folder: Path, max_ongoing: int = 10, name: str = "near") -> AsyncIterator[LocalServer]:
    server = LocalServer(MemberReplica(member), folder, name, max_ongoing)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


async def until(holds: Callable[[], object]) -> None:
    """Wait for it; the test's own time limit bounds this."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def found(replicas: LocalReplicas) -> Connection:
    """The connection to the least busy replica, once one is known."""
    await until(replicas.least_busy)
    connection = replicas.least_busy()
    assert connection is not None
    return connection


async def connected(folder: Path) -> Connection:
    return await found(LocalReplicas(folder, KnownReplicas()))


def spreading(handle: ByHandle, folder: Path, *running: str) -> tuple[LocalFirstMember, LocalReplicas]:
    """A member whose deployment has these replicas."""
    known = KnownReplicas()
    known.set_running(frozenset(running))
    local = LocalReplicas(folder, known)
    return LocalFirstMember(handle, local, known), local  # type: ignore[arg-type]


async def test_an_answer_in_one_piece(folder: Path) -> None:
    async with served(ScriptedMember(Answer("four")), folder):
        replica = await connected(folder)
        assert await replica.ask(CALL, None) == Completion("four", usage=Answer("").usage)


async def test_deltas_come_in_order_and_add_up(folder: Path) -> None:
    async with served(ScriptedMember(Answer("two and two are four")), folder):
        replica = await connected(folder)
        heard: list[Delta] = []
        outcome = await replica.ask(CALL, heard.append)
        assert isinstance(outcome, Completion)
        assert "".join(delta.text for delta in heard) == outcome.text == "two and two are four"


async def test_errors_are_outcomes(folder: Path) -> None:
    async with served(ScriptedMember(Fail(MemberUnavailable("refused"))), folder):
        outcome = await (await connected(folder)).ask(CALL, None)
        assert isinstance(outcome, MemberUnavailable)
        assert (outcome.message, outcome.member) == ("refused", "ada")


async def test_many_calls_at_once_each_get_their_own(folder: Path) -> None:
    replies = ScriptedMember(*(Answer(str(number)) for number in range(50)))
    async with served(replies, folder, max_ongoing=100):
        replica = await connected(folder)
        outcomes = await asyncio.gather(*(replica.ask(CALL, None) for _ in range(50)))
        assert sorted(int(getattr(outcome, "text", "-1")) for outcome in outcomes) == list(range(50))


@pytest.mark.parametrize("emit", [None, lambda _: None])
async def test_a_cancelled_call_is_cancelled_there(folder: Path, emit: Emit | None) -> None:
    member = ScriptedMember(Hang())
    async with served(member, folder) as server:
        replica = await connected(folder)
        asking = asyncio.create_task(replica.ask(CALL, emit))
        await until(lambda: member.running)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: not server.running)
        assert (member.running, member.cancelled) == (0, 1)


async def test_a_full_replica_refuses(folder: Path) -> None:
    member = ScriptedMember(Hang())
    async with served(member, folder, max_ongoing=1):
        replica = await connected(folder)
        first = asyncio.create_task(replica.ask(CALL, None))
        await until(lambda: member.running)
        with pytest.raises(ReplicaFull):
            await replica.ask(CALL, None)
        first.cancel()


async def test_a_replica_that_ends_finishes_what_it_has_and_takes_no_more(folder: Path) -> None:
    gate = asyncio.Event()
    member = ScriptedMember(Answer("four"), gate=gate)
    async with served(member, folder) as server:
        replica = await connected(folder)
        asking = asyncio.create_task(replica.ask(CALL, None))
        await until(lambda: member.running)
        closing = asyncio.create_task(server.close())
        await until(lambda: not replica.open)
        with pytest.raises(ReplicaFull):
            await replica.ask(CALL, None)
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
        replica = await connected(folder)
        asking = asyncio.create_task(replica.ask(CALL, heard.append))
        await until(lambda: heard if emitted else member.running)
        for connection in [*server.connections]:
            connection.close()
        with pytest.raises(ConnectionLost) as lost:
            await asking
        assert lost.value.emitted == emitted


async def test_the_handle_is_asked_where_there_is_no_socket_and_when_one_breaks(folder: Path) -> None:
    handle = ByHandle()
    script = ScriptedMember(Hang())
    member, local = spreading(handle, folder, "near")
    assert (await member.ask(CALL)).text == "by handle"
    async with served(script, folder) as server:
        local._scanned_at = None
        await found(local)
        asking = asyncio.create_task(member.ask(CALL))
        await until(lambda: script.running)
        for connection in [*server.connections]:
            connection.close()
        assert (await asking).text == "by handle"
    assert handle.asked == 2


async def test_the_handle_is_asked_until_it_is_known_which_replicas_run(folder: Path) -> None:
    handle = ByHandle()
    async with served(ScriptedMember(Answer("near")), folder):
        known = KnownReplicas()
        local = LocalReplicas(folder, known)
        member = LocalFirstMember(handle, local, known)  # type: ignore[arg-type]
        await found(local)
        assert (await member.ask(CALL)).text == "by handle"
        known.set_running(frozenset({"near"}))
        assert (await member.ask(CALL)).text == "near"


@pytest.mark.parametrize(("far", "near_calls", "far_calls"), [(0, 200, 0), (1, 100, 100), (3, 50, 150)])
async def test_calls_are_spread_over_the_replicas_here_and_elsewhere(
    folder: Path, far: int, near_calls: int, far_calls: int
) -> None:
    gate = asyncio.Event()
    handle, script = ByHandle(gate), ScriptedMember(Answer("near"), gate=gate)
    async with served(script, folder, max_ongoing=1000):
        member, local = spreading(handle, folder, "near", *(f"far{number}" for number in range(far)))
        await found(local)
        calls = [asyncio.create_task(member.ask(CALL)) for _ in range(200)]
        await until(lambda: script.running + handle.asked == 200)
        assert (script.running, handle.asked) == (near_calls, far_calls)
        gate.set()
        await asyncio.gather(*calls)


async def test_calls_are_spread_over_all_replicas_on_the_machine(folder: Path) -> None:
    gate = asyncio.Event()
    handle, scripts = ByHandle(), [ScriptedMember(Answer(name), gate=gate) for name in ("one", "two")]
    async with served(scripts[0], folder, 1000, "one"), served(scripts[1], folder, 1000, "two"):
        member, local = spreading(handle, folder, "one", "two")
        await until(lambda: local.least_busy() and len(local._connections) == 2)
        calls = [asyncio.create_task(member.ask(CALL)) for _ in range(200)]
        await until(lambda: sum(script.running for script in scripts) == 200)
        assert [script.running for script in scripts] == [100, 100]
        gate.set()
        await asyncio.gather(*calls)
    assert handle.asked == 0


async def test_a_full_replica_on_the_machine_leaves_calls_to_the_handle(folder: Path) -> None:
    handle, script = ByHandle(), ScriptedMember(Hang())
    async with served(script, folder, max_ongoing=1):
        member, local = spreading(handle, folder, "near")
        await found(local)
        first = asyncio.create_task(member.ask(CALL))
        await until(lambda: script.running)
        assert (await member.ask(CALL)).text == "by handle"
        first.cancel()


async def test_errors_are_raised_and_a_broken_stream_is_not_repeated(folder: Path) -> None:
    handle = ByHandle()
    async with served(ScriptedMember(CutOff(["two "])), folder):
        member, local = spreading(handle, folder, "near")
        await found(local)
        with pytest.raises(MalformedReply):
            await member.ask(CALL, lambda _: None)
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


async def test_a_folder_that_was_removed_is_made_anew_by_a_replica_that_listens(folder: Path) -> None:
    gone = folder / "gone"
    local = LocalReplicas(gone, KnownReplicas())
    assert local.least_busy() is None
    async with served(ScriptedMember(Answer("four")), gone):
        await until(lambda: gone.exists())
        local._scanned_at = None
        outcome = await (await found(local)).ask(CALL, None)
    assert isinstance(outcome, Completion)
    assert outcome.text == "four"
