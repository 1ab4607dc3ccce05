"""A member, the server that fails it, and a count of what the failure leaves behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.providers.backend import RemoteBackend, Timeouts
from deployments.providers.member import RemoteMember
from deployments.secrets import Secret
from fusion.chat import Completion, Delta, Usage
from fusion.errors import (
    EmptyCompletion,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnauthorized,
    MemberUnavailable,
)
from tests.faults.providers import PROVIDERS, Provider, sse
from tests.remote.upstream import reply
from tests.unit.deployments.providers.wire_cases import call_of

KEY = "sk-a-very-secret-key"
ANSWER = Completion("Grüße, 世界 🌍", usage=Usage(7, 5))
PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
ENDS_WITHIN_S = 5.0
STOPS_WITHIN_S = 1.0

_PROCESS = psutil.Process()

OUTCOMES: dict[str, tuple[type[MemberError], bool]] = {
    "timeout": (MemberTimeout, True),
    "unavailable": (MemberUnavailable, True),
    "overloaded": (MemberOverloaded, True),
    "unauthorized": (MemberUnauthorized, False),
    "rejected": (MemberRejected, False),
    "malformed_reply": (MalformedReply, True),
    "empty_completion": (EmptyCompletion, True),
}
"""The errors by their codes, and whether the same call may work later."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask: which provider, and as a stream or not."""

    provider: Provider
    streamed: bool

    def __str__(self) -> str:
        return f"{self.provider.api}, {'streamed' if self.streamed else 'whole'}"

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.streamed else "application/json"

    def answer(self, text: str = ANSWER.text, **told: Any) -> bytes:
        """The body of a good answer. It may tell another `usage`."""
        says = self.provider
        usage = told.get("usage", says.usage(7, 5))
        if not self.streamed:
            return json.dumps(says.whole(text, usage), ensure_ascii=False).encode()
        tokens = [says.token(word) for word in text.partition(" ") if word]
        return sse(*says.opening(usage), *tokens, *says.closing(usage)) + says.done

    @property
    def token(self) -> bytes:
        """An event with a token."""
        return sse(self.provider.token("4 "))

    @property
    def words(self) -> bytes:
        """An event with a great many tokens."""
        return sse(self.provider.token("4 " * 100_000))

    @property
    def opening(self) -> bytes:
        """What comes before the first token."""
        return sse(*self.provider.opening()) if self.streamed else b" "

    @property
    def begun(self) -> bytes:
        """The first of an answer, in a stream its first token."""
        return self.opening + self.token if self.streamed else self.answer()[:40]

    @property
    def half(self) -> bytes:
        """An answer up to the middle of a character."""
        whole = self.answer()
        return whole[: whole.index("世".encode()) + 1]

    @property
    def busy(self) -> bytes:
        """An error's body, which repeats what nobody should hear."""
        code = {"openai": "rate_limit_exceeded", "anthropic": "overloaded_error", "gemini": "UNAVAILABLE"}
        says = self.provider
        return json.dumps(says.complaint(503, code[says.api], f"You said 2+2? with {KEY}.")).encode()

    @property
    def other(self) -> Way:
        """The same provider's answer to who asks the other way."""
        return Way(self.provider, not self.streamed)

    def of(self, document: bytes) -> bytes:
        """A body with this in the place of the answer, or of an event."""
        return b"data: %b\n\n" % document if self.streamed else document

    def head(self, *fields: str) -> bytes:
        """The head of a response, which has these fields too."""
        return "\r\n".join(["HTTP/1.1 200 OK", f"content-type: {self.content_type}", *fields, "", ""]).encode()

    @property
    def chunked(self) -> bytes:
        """The head of a response that comes in chunks."""
        return self.head("transfer-encoding: chunked")

    @property
    def sized(self) -> bytes:
        """The head of a response of the answer's length."""
        return self.head(f"content-length: {len(self.answer())}")

    def reply(self, body: bytes, **headers: str) -> bytes:
        """A whole response."""
        return reply(body, **{"content_type": self.content_type, **headers})


WAYS = tuple(Way(provider, streamed) for provider in PROVIDERS for streamed in (False, True))


@asynccontextmanager
async def member_at(url: str, way: Way, key: Path, timeouts: Timeouts = PATIENT) -> AsyncIterator[RemoteMember]:
    """A member that is gone at the end, without a task or a file descriptor left over from it."""
    tasks, files = asyncio.all_tasks(), open_files()
    member = RemoteMember(RemoteBackend(f"{url}/v1", Secret(file=str(key)), timeouts, api=way.provider.api), "m")
    try:
        yield member
    finally:
        await member.aclose()
    await settled(lambda: open_files() <= files and asyncio.all_tasks() <= tasks)


async def ask(member: RemoteMember, way: Way) -> Completion:
    heard: list[Delta] = []
    completion = await member.ask(call_of(), heard.append if way.streamed else None)
    assert not way.streamed or "".join(delta.text for delta in heard) == completion.text
    return completion


async def failure(member: RemoteMember, way: Way) -> MemberError:
    """The error that a call ends with. It tells nobody what the server said, or the key."""
    with pytest.raises(MemberError) as caught:
        async with asyncio.timeout(ENDS_WITHIN_S):
            await ask(member, way)
    error = caught.value
    kind, retryable = OUTCOMES[error.code]
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.member == "ada"
    assert KEY not in str(error)
    return error


def open_files() -> int:
    """The file descriptors of this process."""
    return _PROCESS.num_fds()


async def settled(holds: Callable[[], bool]) -> None:
    """Wait for what must soon be so."""
    until = asyncio.get_running_loop().time() + STOPS_WITHIN_S
    while not holds():
        assert asyncio.get_running_loop().time() < until
        await asyncio.sleep(0.005)
