"""Prefilling a judge model: it reads the first candidates while the last are still being written.

An engine with prefix caching computes only that part of a prompt which differs from an earlier one. So the prompt is
sent with the candidates that are in and one token to write, again with each that comes, and when the judge model is
asked all but the last candidate is cached.
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
from fusion.steps import PrefillPlan


@dataclass(slots=True)
class Prefill:
    """Prefills the judge model of one round. `prefilled` are the members whose candidates it was sent, in the order of
    its ballot: those that came at once in an order drawn from the seed, later ones after them."""

    plan: PrefillPlan
    member: Member
    calls: Calls
    seed: int
    deadline_at: float
    prefilled: list[str] = field(default_factory=list[str])
    _running: asyncio.Task[None] | None = None

    def send(self, answered: Sequence[Candidate]) -> None:
        """Send the candidates that came in since the last call, after those that were sent before. A call that is still
        running is cancelled: the new prompt begins with its prompt."""
        new = sorted(candidate.member for candidate in answered if candidate.member not in self.prefilled)
        if not new:
            return
        random.Random(self.seed).shuffle(new)
        self.prefilled += new
        by_member = {candidate.member: candidate for candidate in answered}
        asked = self.plan.request_of([by_member[member] for member in self.prefilled], self.prefilled)
        if asked is None:
            return
        request = prefix_of(*asked)
        self.stop()
        left_s = self.deadline_at - asyncio.get_running_loop().time()
        self._running = asyncio.create_task(self._ask(Call(self.plan.judge, request, left_s, purpose="prefill")))

    def stop(self) -> None:
        """Cancel the call that is running. What the engine has computed stays in its cache."""
        if self._running is not None:
            self.calls.stop(self._running)

    async def _ask(self, call: Call) -> None:
        outcome = await self.calls.ask(call, None, self.member)
        if outcome.usage is not None:
            self.calls.ledger.charge("prefill", outcome.usage, self.calls.cost_usd(call.member, outcome))


def prefix_of(request: Request, last_line: str) -> Request:
    """Cut the request after the line that closes its last answer; that line carries the fence, so it occurs once. The
    result has one token to write and no answer format."""
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
