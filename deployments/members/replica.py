"""What every member's replica offers to judges.

Outcomes cross as values: an error that is raised comes with a remote traceback, a log line and several times the cost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from deployments.autoscaling import LOCAL_CALLS
from deployments.members.local_socket.server import LocalServer, listen
from deployments.resilience.breaker import State
from fusion.chat import Call, Completion, Delta
from fusion.errors import MemberError, unexpected, whereabouts
from fusion.member import Member

Outcome = Completion | MemberError


Deltas = tuple[Delta, ...]


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """Whether a member takes calls, and its breaker's state; None where it has no breaker or no replica answers."""

    ready: bool
    breaker: State | None = None


class MemberReplica:
    """Serves one backend's members. Calls bring the members' sampling and system prompts along
    (`deployments.members.profiled`), so that those can change and the backend goes on.

    `member` takes the calls of all of them.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._local_server: LocalServer | None = None

    def listen(self, max_ongoing: int) -> None:
        """Take up to `max_ongoing` calls at once from the same machine over a socket too."""
        self._local_server = listen(self, max_ongoing)

    async def close(self) -> None:
        """Finish the calls that came over the socket, and take no more."""
        if self._local_server is not None:
            await self._local_server.close()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for the numbers that its autoscaling policy gets. Serve does not count these calls itself."""
        return {LOCAL_CALLS: float(0 if self._local_server is None else len(self._local_server.running))}

    async def ask(self, call: Call) -> Outcome:
        """Answer a call in one piece."""
        try:
            return await self._member.ask(call)
        except Exception as error:
            return outcome_of(error, call)

    async def watch(self, call: Call) -> AsyncGenerator[Deltas | Outcome, None]:
        """Answer a call in pieces: the deltas as they come, those that are already there in one item, and the outcome
        last."""
        deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        task = asyncio.create_task(self._member.ask(call, deltas.put_nowait))
        task.add_done_callback(lambda _: deltas.put_nowait(None))
        try:
            while (first := await deltas.get()) is not None:
                batch = [first]
                ended = False
                while not deltas.empty() and not ended:
                    delta = deltas.get_nowait()
                    ended = delta is None
                    if delta is not None:
                        batch.append(delta)
                yield tuple(batch)
                if ended:
                    break
            try:
                outcome: Outcome = await task
            except Exception as error:
                outcome = outcome_of(error, call)
            yield outcome
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def status(self, members: Sequence[str]) -> dict[str, MemberStatus]:
        """Whether calls to these members can be taken. A replica that can say so is up."""
        return dict.fromkeys(members, MemberStatus(ready=True))


def outcome_of(error: Exception, call: Call) -> MemberError:
    """The error of a call, as a value that crosses to the judge without its traceback."""
    if not isinstance(error, MemberError):
        _log.error("member %s: %s", call.member, whereabouts(error))
        error = unexpected(error, call.member)
    error.member = call.member
    return error.with_traceback(None)
