"""A fused request that is over, with all that is known of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from fusion.chat import Completion, Message, TextPart
from fusion.presets import Task
from fusion.progress import CandidateEnded, JudgeAsked, JudgeEnded, Progress
from fusion.results import Candidate, Failure, Fused

RequestOutcome = Literal["answered", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class JudgeCall:
    """A judge model's call that is over, and what it was for."""

    judge: str
    stage: str
    outcome: Completion | Failure
    latency_ms: float
    cost_usd: float | None


@dataclass(slots=True)
class Account:
    """An observer that keeps the outcomes of a request's calls, for a request can end without a result."""

    candidates: list[Candidate] = field(default_factory=list[Candidate])
    judge_calls: list[JudgeCall] = field(default_factory=list[JudgeCall])
    convened_at: float | None = None
    """When its first panel was asked, on the event loop's clock."""
    _stages: dict[int, str] = field(default_factory=dict[int, str])

    def on_event(self, event: Progress | JudgeEnded) -> None:
        if self.convened_at is None:
            self.convened_at = asyncio.get_running_loop().time()
        if isinstance(event, CandidateEnded):
            self.candidates.append(event.candidate)
        elif isinstance(event, JudgeAsked):
            self._stages[event.number] = event.stage
        elif isinstance(event, JudgeEnded):
            stage = self._stages[event.number]
            self.judge_calls.append(JudgeCall(event.judge, stage, event.outcome, event.latency_ms, event.cost_usd))


@dataclass(frozen=True, slots=True)
class FusedRequest:
    """One fused request from its arrival to its end. A result is there exactly when it was answered, a failure when
    it failed, and neither when its client went away.

    `id` is the response's `x-request-id`, `trace_id` its trace's, where it is traced. `model` is the id that the client
    asked for. `arrived_at` is in seconds since the epoch. `queued_ms` is what went by before its panel was asked, None
    when none was.
    """

    id: str
    trace_id: str | None
    model: str
    streamed: bool
    task: Task
    arrived_at: float
    queued_ms: float | None
    took_ms: float
    account: Account
    fused: Fused | None = None
    failure: Failure | None = None

    @property
    def outcome(self) -> RequestOutcome:
        return "answered" if self.fused else "failed" if self.failure else "cancelled"

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate whose outcome is known."""
        return self.fused.candidates if self.fused else tuple(self.account.candidates)

    @property
    def size_chars(self) -> int:
        """How much text it holds, about: what keeping it in memory takes."""
        texts = sum(_size_chars(message) for message in self.task.request.messages)
        for candidate in self.account.candidates:
            if candidate.completion is not None:
                texts += len(candidate.completion.text) + len(candidate.completion.reasoning)
        return texts


def _size_chars(message: Message) -> int:
    content = message.content
    if isinstance(content, tuple):
        return sum(len(part.text if isinstance(part, TextPart) else part.url) for part in content)
    return len(content or "") + sum(len(call.arguments) for call in message.tool_calls)
