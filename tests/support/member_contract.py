"""What every member must keep to, as checks that any of them can be put to: `async def check_…(subject)`.

Errors are each backend's own and are left to its tests.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from fusion.chat import Call, Completion, Delta, ToolCall
from fusion.errors import MemberTimeout
from fusion.member import Emit, Member

STOPS_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A member, and what to ask of it.

    `short` is a call that it answers, `long` one that keeps it busy for much longer than a second. `busy` says whether
    work for any call is under way, wherever that work is done.
    """

    member: Member
    short: Call
    long: Call
    busy: Callable[[], Awaitable[bool]]


async def check_answer(subject: Subject) -> None:
    """An answer in one piece has something to say and tells what it cost."""
    _check_whole(await subject.member.ask(subject.short))


async def check_stream(subject: Subject) -> None:
    """What is emitted adds up to what is returned, and nothing is emitted afterwards."""
    heard: list[Delta] = []
    completion = await subject.member.ask(subject.short, heard.append)
    told = len(heard)
    _check_whole(completion)
    assert "".join(delta.text for delta in heard) == completion.text
    assert tool_calls_in(heard) == completion.tool_calls
    await asyncio.sleep(0.1)
    assert len(heard) == told


async def check_calls_at_once(subject: Subject) -> None:
    """Calls under way at the same time each get their own answer."""
    heard: list[list[Delta]] = [[], [], []]
    completions = await asyncio.gather(*(subject.member.ask(subject.short, own.append) for own in heard))
    for completion, own in zip(completions, heard, strict=True):
        assert "".join(delta.text for delta in own) == completion.text


async def check_deadline(subject: Subject) -> None:
    """A call ends when its time is up, and so does the work for it, watched or not."""
    for emit in (None, ignore):
        began_at = _now()
        with pytest.raises(MemberTimeout):
            await subject.member.ask(replace(subject.long, timeout_s=0.5), emit)
        assert _now() - began_at < 0.5 + STOPS_WITHIN_S
        await _until(subject, busy=False)


async def check_cancellation(subject: Subject) -> None:
    """A cancelled call is not answered, and the work for it stops, watched or not."""
    for emit in (None, ignore):
        await cancelled_at_work(subject, emit)


async def cancelled_at_work(subject: Subject, emit: Emit | None) -> None:
    """Cancel a call when the work for it is under way."""
    asking = asyncio.create_task(subject.member.ask(subject.long, emit))
    await _until(subject, busy=True, within_s=30)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _until(subject, busy=False)


CHECKS = (check_answer, check_stream, check_calls_at_once, check_deadline, check_cancellation)


def tool_calls_in(deltas: list[Delta]) -> tuple[ToolCall, ...]:
    """The tool calls that deltas add up to."""
    parts: dict[int, list[str]] = defaultdict(lambda: ["", "", ""])
    for delta in deltas:
        for piece in delta.tool_calls:
            part = parts[piece.index]
            part[:] = [piece.id or part[0], piece.name or part[1], part[2] + piece.arguments]
    return tuple(ToolCall(*parts[index]) for index in sorted(parts))


def ignore(delta: Delta) -> None:
    """Watches without looking."""


def _check_whole(completion: Completion) -> None:
    assert completion.text.strip() or completion.tool_calls
    assert completion.usage is not None
    assert completion.usage.input_tokens > 0
    assert completion.usage.output_tokens > 0


async def _until(subject: Subject, *, busy: bool, within_s: float = STOPS_WITHIN_S) -> None:
    until = _now() + within_s
    while True:
        looked_at = _now()
        if await subject.busy() == busy:
            return
        assert looked_at < until, f"it was still {'idle' if busy else 'busy'} after {within_s} s"
        await asyncio.sleep(0.02)


def _now() -> float:
    return asyncio.get_running_loop().time()
