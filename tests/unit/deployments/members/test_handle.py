"""What becomes of a call when the replica that has it dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments.members.handle import HandleMember
from fusion.chat import Call, Completion, Delta, Message, Request
from fusion.errors import MemberOverloaded, MemberUnavailable

CALL = Call("one", Request((Message("user", "?"),)), timeout_s=5.0)
DONE = Completion("four")


class Handle:
    """A deployment whose replicas do one thing a call, in this order."""

    def __init__(self, *ends: Any) -> None:
        self.ends = list(ends)
        self.calls: list[Call] = []

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, call: Call) -> Any:
        self.calls.append(call)
        return _Response(self.ends.pop(0))


class _Response:
    """One item, several, or an error; an error among several comes when those before it are out."""

    def __init__(self, end: Any) -> None:
        self.items = end if isinstance(end, list) else [end]

    async def _one(self) -> Any:
        return _value(self.items[0])

    def __await__(self) -> Any:
        return self._one().__await__()

    async def __aiter__(self) -> Any:
        for item in self.items:
            yield _value(item)

    def cancel(self) -> None: ...


def _value(item: Any) -> Any:
    if isinstance(item, BaseException):
        raise item
    return item


async def test_a_call_goes_to_another_replica_with_the_time_that_is_left() -> None:
    handle = Handle(ActorDiedError(), DONE)
    assert await HandleMember(handle).ask(CALL) == DONE
    assert [call.timeout_s <= CALL.timeout_s for call in handle.calls] == [True, True]


async def test_it_is_tried_once_more_and_not_again() -> None:
    handle = Handle(ActorDiedError(), ActorDiedError(), DONE)
    with pytest.raises(MemberUnavailable):
        await HandleMember(handle).ask(CALL)
    assert len(handle.calls) == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), MemberOverloaded),
        (RayTaskError("ask", "", ValueError()), MemberUnavailable),
    ],
)
async def test_what_a_replica_refused_or_raised_is_not_tried_again(error: Exception, kind: type[Exception]) -> None:
    handle = Handle(error, DONE)
    with pytest.raises(kind):
        await HandleMember(handle).ask(CALL)
    assert len(handle.calls) == 1


async def test_a_stream_that_has_not_begun_begins_anew() -> None:
    deltas: list[Delta] = []
    handle = Handle([ActorDiedError()], [(Delta("fo"),), (Delta("ur"),), DONE])
    assert await HandleMember(handle).ask(CALL, deltas.append) == DONE
    assert [delta.text for delta in deltas] == ["fo", "ur"]


async def test_a_stream_that_has_begun_fails() -> None:
    deltas: list[Delta] = []
    handle = Handle([(Delta("fo"),), ActorDiedError()], [DONE])
    with pytest.raises(MemberUnavailable):
        await HandleMember(handle).ask(CALL, deltas.append)
    assert len(handle.calls) == 1


async def test_a_cancelled_call_is_not_tried_again() -> None:
    handle = Handle(asyncio.CancelledError(), DONE)
    with pytest.raises(asyncio.CancelledError):
        await HandleMember(handle).ask(CALL)
    assert len(handle.calls) == 1
