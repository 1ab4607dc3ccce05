"""A fused request that has ended, with everything known about it."""

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
    """A call to a judge model that has ended, and the stage it was for."""

    judge: str
    stage: str
    outcome: Completion | Failure
    latency_ms: float
    cost_usd: float | None


@dataclass(slots=True)
class Account:
    """Collects the outcomes of a request's calls, because a request can end without a result."""

    candidates: list[Candidate] = field(default_factory=list[Candidate])
    judge_calls: list[JudgeCall] = field(default_factory=list[JudgeCall])
    convened_at: float | None = None
    """When the first panel was called, on the event loop's clock."""
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
    """One fused request from its arrival to its end. It has a result exactly when it was answered, a failure when it
    failed, and neither when its client went away."""

    id: str
    """The response's `x-request-id`."""
    trace_id: str | None
    """The id of its trace. None when it is not traced."""
    model: str
    """The model id that the client asked for."""
    streamed: bool
    task: Task
    arrived_at: float
    """Seconds since the epoch."""
    queued_ms: float | None
    """The time before its panel was called. None when no panel was."""
    took_ms: float
    """The time from its arrival to its end."""
    account: Account
    """The outcomes of its calls."""
    fused: Fused | None = None
    """The result."""
    failure: Failure | None = None
    """Why it failed."""

    @property
    def outcome(self) -> RequestOutcome:
        return "answered" if self.fused else "failed" if self.failure else "cancelled"

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate whose outcome is known."""
        return self.fused.candidates if self.fused else tuple(self.account.candidates)

    @property
    def size_chars(self) -> int:
        """Approximately how many characters of text it keeps in memory."""
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
