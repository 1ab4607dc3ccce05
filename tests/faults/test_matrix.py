"""Every fault of a server, with every wire format, streamed and not."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.server import ANSWER, PATIENT, WAYS, Way, ask, failure, member_at, open_files, settled
from tests.remote.upstream import END, Action, Close, Pause, Reset, Stall, chunk, reply, upstream

SHORT_S = 0.1
HTML = b"<html><body>Please log in.</body></html>"
BOMB = gzip.compress(b" " * 100_000_000, 9)
METADATA = "http://169.254.169.254/latest/meta-data"

Timer = Literal["first_token_s", "idle_s", "total_s"]
RAN_OUT: dict[Timer, str] = {
    "first_token_s": f"no first token within {SHORT_S} s",
    "idle_s": f"no token for {SHORT_S} s",
    "total_s": f"no answer within {SHORT_S} s",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a server does in place of an answer, and the error that this is: a part of its message, and its code.

    With a `timer`, that one alone is short, and the error is that it ran out; what is not streamed knows only
    `total_s`. `only` is the one way of asking that the fault is possible in.
    """

    name: str
    does: Callable[[Way], Iterable[Action]]
    message: str = ""
    code: str = "malformed_reply"
    timer: Timer | None = None
    only: Literal["streamed", "whole"] | None = None

    def is_possible(self, way: Way) -> bool:
        return self.only is None or (self.only == "streamed") == way.streamed


def drip(piece: bytes, *start: bytes) -> Iterable[Action]:
    """A little, again and again without an end."""
    return chain(start, chain.from_iterable(repeat((Pause(SHORT_S / 10), piece))))


def flood(piece: bytes, *start: bytes) -> Iterable[Action]:
    """The same, as fast as it is taken."""
    return chain(start, repeat(piece))


FAULTS = [
    # Connections
    Fault("reset", lambda way: [Reset()], "no connection", "unavailable"),
    Fault("hung up", lambda way: [Close()], "no connection", "unavailable"),
    Fault("hung up in the headers", lambda way: [way.chunked[:-2], Close()], "no connection", "unavailable"),
    Fault("no HTTP", lambda way: [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Stall()], "not HTTP"),
    # Headers
    Fault("endless status", lambda way: flood(b"y" * 999, b"HTTP/1.1 200 "), "not HTTP"),
    Fault("endless header", lambda way: flood(b"y" * 999, way.chunked[:-2], b"x: "), "not HTTP"),
    Fault("endless headers", lambda way: flood(b"x: y\r\n" * 99, way.chunked[:-2]), "not HTTP"),
    Fault("two lengths", lambda way: [way.head("content-length: 1", "content-length: 2")], "not HTTP"),
    # Statuses that are no errors
    Fault("another protocol", lambda way: [reply(b"", "101 Switching Protocols")], "HTTP 101 instead"),
    Fault("no content", lambda way: [reply(b"", "204 No Content")], "HTTP 204 instead of 200"),
    Fault("a part", lambda way: [reply(way.answer(), "206 Partial Content")], "HTTP 206 instead"),
    Fault(
        "redirect 302", lambda way: [reply(b"", "302 Found", location=METADATA)], "HTTP 302: redirects", "unavailable"
    ),
    Fault(
        "redirect 307", lambda way: [reply(b"", "307 Found", location=METADATA)], "HTTP 307: redirects", "unavailable"
    ),
    # Silence
    Fault("stall before the headers", lambda way: [Stall()], timer="first_token_s"),
    Fault("stall in the headers", lambda way: [way.chunked[:-2], Stall()], timer="first_token_s"),
    Fault("stall before a token", lambda way: [way.chunked, chunk(way.opening), Stall()], timer="first_token_s"),
    Fault("stall after a token", lambda way: [way.chunked, chunk(way.begun), Stall()], timer="idle_s"),
    # Keeping busy without saying anything
    Fault("interim responses", lambda way: drip(b"HTTP/1.1 100 Continue\r\n\r\n"), timer="first_token_s"),
    Fault(
        "comments alone", lambda way: drip(chunk(b": wait\n\n"), way.chunked), timer="first_token_s", only="streamed"
    ),
    Fault(
        "comments after a token",
        lambda way: drip(chunk(b": wait\n\n"), way.chunked, chunk(way.begun)),
        timer="idle_s",
        only="streamed",
    ),
    Fault("no tokens", lambda way: drip(chunk(way.opening), way.chunked), timer="first_token_s", only="streamed"),
    Fault("white space", lambda way: drip(chunk(b" "), way.chunked), timer="total_s", only="whole"),
    # Without an end
    Fault(
        "endless tokens",
        lambda way: drip(chunk(way.token), way.chunked, chunk(way.begun)),
        timer="total_s",
        only="streamed",
    ),
    Fault("endless tokens, fast", lambda way: flood(chunk(way.words), way.chunked), "larger than", only="streamed"),
    Fault("endless line", lambda way: flood(chunk(b" " * 1_000_000), way.chunked), "larger than"),
    Fault("endless, no chunks", lambda way: flood(b" " * 1_000_000, way.head()), "larger than"),
    # Broken off
    Fault("reset, length", lambda way: [way.sized, way.begun, Reset()], "broke off"),
    Fault("hung up, length", lambda way: [way.sized, way.begun, Close()], "broke off"),
    Fault("reset, chunks", lambda way: [way.chunked, chunk(way.begun), Reset()], "broke off"),
    Fault("hung up, chunks", lambda way: [way.chunked, chunk(way.begun), Close()], "broke off"),
    Fault("reset in a chunk", lambda way: [way.chunked, chunk(way.begun)[:-9], Reset()], "broke off"),
    Fault("no such chunk", lambda way: [way.chunked, b"many\r\n", Stall()], "not HTTP"),
    Fault("ended early, chunks", lambda way: [way.chunked, chunk(way.begun), END]),
    Fault("ended early, until closed", lambda way: [way.head(), way.begun, Close()]),
    Fault("half a character, chunks", lambda way: [way.chunked, chunk(way.half), END], "not JSON"),
    Fault("half a character, length", lambda way: [way.reply(way.half)], "not JSON"),
    # Not what was asked for
    Fault("an HTML page", lambda way: [reply(HTML, content_type="text/html")], "the reply is not"),
    Fault("plain text", lambda way: [way.reply(way.answer(), content_type="text/plain")], "is not"),
    Fault("no type", lambda way: [way.reply(way.answer(), content_type="")], "the reply is not"),
    Fault("the other type", lambda way: [way.other.reply(way.other.answer())], "the reply is not"),
    Fault("HTML within", lambda way: [way.reply(HTML)]),
    Fault("a bomb", lambda way: [way.reply(BOMB, content_encoding="gzip")], "compressed"),
    Fault("an unknown coding", lambda way: [way.reply(b"?", content_encoding="br, gzip")], "compressed"),
    # Documents
    Fault("bad JSON", lambda way: [way.reply(way.of(b'{"a": }'))], "not JSON"),
    Fault("no UTF-8", lambda way: [way.reply(way.of(b'{"a": "\xff"}'))], "not JSON"),
    Fault("a lone surrogate", lambda way: [way.reply(way.of(rb'{"a": "\ud800"}'))], "not JSON"),
    Fault("too deep", lambda way: [way.reply(way.of(b"[" * 99_999 + b"]" * 99_999))], "not JSON"),
    Fault("a huge number", lambda way: [way.reply(way.of(b'{"a": %b}' % (b"9" * 9_999)))]),
    *(
        Fault(f"no answer but {other.decode()}", lambda way, other=other: [way.reply(way.of(other))])
        for other in (b"{}", b"[]", b"7", b'"4"', b"null")
    ),
    Fault("no finish", lambda way: [way.reply(way.begun + way.provider.done)], only="streamed"),
    Fault("no event", lambda way: [way.reply(b'{"a": 1}\n{"a": 2}\n')]),
    Fault("events without data", lambda way: [way.reply(b"event: a\n\nid: 1\nretry: 1\n\n")]),
    Fault("fields unheard of", lambda way: [way.reply(b"date: {}\n\n\x00data: {}\n\n" * 9)]),
    Fault("nothing at all", lambda way: [way.reply(b"")]),
    Fault("an error in its place", lambda way: [way.reply(way.of(way.busy))], "in place of the answer", "overloaded"),
    Fault(
        "an error in the end", lambda way: [way.reply(way.begun + way.of(way.busy))], "", "overloaded", only="streamed"
    ),
    Fault(
        "an empty answer", lambda way: [way.reply(way.answer(""))], "neither text nor tool calls", "empty_completion"
    ),
    Fault("a blank answer", lambda way: [way.reply(way.answer(" \n"))], "finish reason stop", "empty_completion"),
    # Errors with a body that is one itself
    Fault("an error page", lambda way: [reply(HTML, "502 Bad", content_type="text/html")], "HTTP 502", "unavailable"),
    Fault(
        "an error with a bomb", lambda way: [reply(BOMB, "500 No", content_encoding="gzip")], "HTTP 500", "unavailable"
    ),
    Fault(
        "an error that breaks off", lambda way: [reply(way.busy, "503 Busy")[:-9], Reset()], "HTTP 503", "overloaded"
    ),
    Fault("an error that stalls", lambda way: [reply(way.busy, "429 No")[:-9], Stall()], "HTTP 429", "overloaded"),
    Fault("an endless error", lambda way: flood(b" " * 9_999, b"HTTP/1.1 500 No\r\n\r\n"), "HTTP 500", "unavailable"),
]


@pytest.mark.parametrize(
    ("fault", "way"),
    [pytest.param(fault, way, id=f"{fault.name}-{way}") for fault in FAULTS for way in WAYS if fault.is_possible(way)],
)
async def test_a_fault_is_the_right_error_and_leaves_nothing_behind(fault: Fault, way: Way, key: Path) -> None:
    timer: Timer | None = fault.timer and (fault.timer if way.streamed else "total_s")
    timeouts = replace(PATIENT, **{timer: SHORT_S}) if timer else PATIENT
    async with upstream(by=lambda _: fault.does(way)) as server, member_at(server.url, way, key, timeouts) as member:
        error = await failure(member, way)
        assert error.code == ("timeout" if timer else fault.code)
        assert (RAN_OUT[timer] if timer else fault.message) in error.message
        assert len(server.asked) <= 1
        # What ran out of time cannot be used again.
        await settled(lambda: (server.open if timer else server.working) == 0)
        if not timer:
            server.actions = lambda _: [way.reply(way.answer())]
            assert await ask(member, way) == ANSWER
            assert server.open == 1


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_refused_connection(way: Way, key: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with member_at(f"http://127.0.0.1:{closed.getsockname()[1]}", way, key) as member:
            error = await failure(member, way)
    assert error.code == "unavailable"
    assert "no connection" in error.message


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_connection_that_is_never_taken(way: Way, key: Path) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with member_at(url, way, key, replace(PATIENT, connect_s=SHORT_S)) as member:
            error = await failure(member, way)
    assert (error.code, error.message) == ("timeout", "no connection in time")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_redirect_leads_nowhere(way: Way, status: int, key: Path) -> None:
    async with upstream(way.reply(way.answer())) as elsewhere:
        moved = reply(b"", f"{status} Moved", location=f"{elsewhere.url}/v1/messages")
        async with upstream(moved) as server, member_at(server.url, way, key) as member:
            assert (await failure(member, way)).message == f"HTTP {status}: redirects are refused"
        assert elsewhere.connections == 0


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_bomb_is_not_unpacked(way: Way, key: Path) -> None:
    bomb = way.reply(BOMB, content_encoding="gzip")
    async with upstream(bomb) as server, member_at(server.url, way, key) as member:
        tracemalloc.start()
        try:
            await failure(member, way)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 5_000_000


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_second_reply_to_one_request_answers_no_other(way: Way, key: Path) -> None:
    replies = iter([way.reply(way.answer()) + way.reply(way.answer("smuggled")), way.reply(way.answer())])
    async with upstream(by=lambda _: [next(replies)]) as server, member_at(server.url, way, key) as member:
        assert await ask(member, way) == ANSWER
        assert await ask(member, way) == ANSWER


@pytest.mark.parametrize("ending", [Close(), Reset()], ids=["hung up", "reset"])
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_connection_that_went_away_while_idle_is_replaced(way: Way, ending: Action, key: Path) -> None:
    async with upstream(way.reply(way.answer()), ending) as server, member_at(server.url, way, key) as member:
        unconnected = open_files()
        for _ in range(3):
            assert await ask(member, way) == ANSWER
            await settled(lambda: open_files() == unconnected)
        assert server.connections == 3


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_nothing_that_a_server_asks_to_be_told_again_is(way: Way, key: Path) -> None:
    answer = way.reply(way.answer(), set_cookie="who=ada; path=/")
    async with upstream(answer) as server:
        # Cookies are a matter of names: what has an address alone would be told none.
        async with member_at(f"http://localhost:{server.port}", way, key) as member:
            for _ in range(2):
                await ask(member, way)
        assert "cookie" not in server.asked[1].headers
