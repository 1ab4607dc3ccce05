"""Showing a judge model the first candidates while the last are still being written.

Where the judge model's engine keeps what it has read (prefix caching), a prompt that begins as an earlier one did is
read from there on only. So the prompt is sent ahead with the candidates that are in and one token asked for, again with
each that comes, and the judge finds all of it read but the last candidate.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fusion.chat import Call, Request, Sampling, TextPart
from fusion.member import Member
from fusion.results import Candidate
from fusion.runtime.member_calls import Calls
from fusion.steps import Ahead

STAGE = "prefill"


@dataclass(slots=True)
class Prefill:
    """What one round sends ahead. `shown` are the members whose candidates were, in the order in which the judge model
    will see them: those that came at the same time in an order drawn from the seed, later ones after them."""

    ahead: Ahead
    member: Member
    calls: Calls
    seed: int
    deadline_at: float
    shown: list[str] = field(default_factory=list[str])
    _running: asyncio.Task[None] | None = None

    def send(self, answered: Sequence[Candidate]) -> None:
        """Send what has come in since the last time, after what was sent before. What of that is still being read is
        read by the new call."""
        new = sorted(candidate.member for candidate in answered if candidate.member not in self.shown)
        if not new:
            return
        random.Random(self.seed).shuffle(new)
        self.shown += new
        by_member = {candidate.member: candidate for candidate in answered}
        asked = self.ahead.request_of([by_member[member] for member in self.shown], self.shown)
        if asked is None:
            return
        request = prefix_of(*asked)
        self.stop()
        left_s = self.deadline_at - asyncio.get_running_loop().time()
        self._running = asyncio.create_task(self._ask(Call(self.ahead.judge, request, left_s, purpose="prefill")))

    def stop(self) -> None:
        """The judge model itself is asked now, or nobody is. What was read stays read."""
        if self._running is not None:
            self.calls.stop(self._running)

    async def _ask(self, call: Call) -> None:
        outcome = await self.calls.ask(call, None, self.member)
        if outcome.usage is not None:
            self.calls.ledger.charge(STAGE, outcome.usage, self.calls.cost_usd(call.member, outcome))


def prefix_of(request: Request, last_line: str) -> Request:
    """The request up to and with the line that closes its last answer, which carries the fence and so is nowhere else;
    with one token to write and no form to keep to."""
    last = request.messages[-1]
    content = last.content
    if isinstance(content, tuple) and isinstance(content[0], TextPart):
        content = (TextPart(_through(last_line, content[0].text)),)
    elif isinstance(content, str):
        content = _through(last_line, content)
    messages = (*request.messages[:-1], replace(last, content=content))
    return Request(messages, Sampling(temperature=0.0, max_tokens=1))


def _through(line: str, text: str) -> str:
    return text[: text.rindex(line) + len(line)]
