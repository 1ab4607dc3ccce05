"""For tests: a member and a run that follow a script.

    slow = ScriptedMember(Answer("4"), delay_s=0.2)
    flaky = ScriptedMember(Fail(MemberUnavailable("refused")), Answer("4"))   # one behaviour a call, the last repeats
    held = ScriptedMember(Answer("4"), gate=gate)                             # answers when the gate opens

`calls` records what each was asked, `running` how many calls are under way, `cancelled` how many were cancelled.

    run = ScriptedRun([RoundResult(candidates, has_quorum=True, timed_out=False)], [Completion("four")])
    decision = await merge(run, task)                                         # a mode, without members or a clock
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fusion.chat import Call, Completion, Delta, FinishReason, ToolCall, ToolCallDelta, Usage
from fusion.errors import JudgeInterrupted, MalformedReply, MemberError
from fusion.member import Emit
from fusion.steps import AskJudge, Convene, Outcome, RoundResult


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this text, in `pieces` when streamed (by default a word each), `piece_delay_s` apart."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = field(default_factory=lambda: Usage(10, 5))
    finish_reason: FinishReason = "stop"
    pieces: Sequence[str] | None = None
    piece_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with the text that this function returns for the call."""

    of: Callable[[Call], str]


@dataclass(frozen=True, slots=True)
class Fail:
    """Fail with this error."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """Send these pieces, then break."""

    pieces: Sequence[str]
    error: MemberError = field(default_factory=lambda: MalformedReply("the stream ended before its end"))


@dataclass(frozen=True, slots=True)
class Rubbish:
    """Return something that is not a completion."""

    value: object = None


@dataclass(frozen=True, slots=True)
class IgnoreCancellation:
    """Go on for `for_s` seconds whatever happens, then answer."""

    for_s: float
    text: str = "too late"


Behaviour = Answer | Reply | Fail | Hang | CutOff | Rubbish | IgnoreCancellation


@dataclass(slots=True)
class ScriptedMember:
    """A member that follows a script: one behaviour a call, the last one repeated."""

    behaviours: tuple[Behaviour, ...]
    delay_s: float
    gate: asyncio.Event | None
    calls: list[Call]
    running: int
    cancelled: int

    def __init__(self, *behaviours: Behaviour, delay_s: float = 0.0, gate: asyncio.Event | None = None) -> None:
        self.behaviours = behaviours or (Answer("yes"),)
        self.delay_s = delay_s
        self.gate = gate
        self.calls = []
        self.running = 0
        self.cancelled = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        behaviour = self.behaviours[min(len(self.calls), len(self.behaviours) - 1)]
        self.calls.append(call)
        self.running += 1
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.gate:
                await self.gate.wait()
            return await _behave(behaviour, call, emit)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def _behave(behaviour: Behaviour, call: Call, emit: Emit | None) -> Completion:
    match behaviour:
        case Answer(text, tool_calls, usage, finish_reason):
            await _stream(behaviour, emit)
            return Completion(text, tool_calls, finish_reason, usage)
        case Reply(of):
            return await _behave(Answer(of(call)), call, emit)
        case Fail(error):
            raise error
        case Hang():
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        case CutOff(pieces, error):
            await _stream(Answer("", pieces=pieces), emit)
            raise error
        case Rubbish(value):
            return cast("Any", value)
        case IgnoreCancellation(for_s, text):
            await _stubborn_sleep(for_s)
            return Completion(text)


async def _stream(answer: Answer, emit: Emit | None) -> None:
    if emit is None:
        return
    for piece in answer.pieces if answer.pieces is not None else re.findall(r" ?[^ ]+| ", answer.text):
        emit(Delta(piece))
        await asyncio.sleep(answer.piece_delay_s)
    for index, tool_call in enumerate(answer.tool_calls):
        emit(Delta(tool_calls=(ToolCallDelta(index, tool_call.id, tool_call.name, tool_call.arguments),)))


async def _stubborn_sleep(for_s: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + for_s
    while (left := until - loop.time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


@dataclass(frozen=True, slots=True)
class JudgesAsked:
    """The arguments of one `ask_judges`."""

    asks: tuple[AskJudge, ...]
    jurors: int
    grace: float


class ScriptedRun:
    """A `Run` that answers from a script: each `convene` takes the next round result, and each ask of a judge model the
    next outcome; a `JudgeInterrupted` among the outcomes is raised.

    `convened` and `asked` record what a mode asked for.
    """

    def __init__(self, rounds: Sequence[RoundResult] = (), outcomes: Sequence[Outcome | JudgeInterrupted] = ()) -> None:
        self._rounds = list(rounds)
        self._outcomes = list(outcomes)
        self.convened: list[Convene] = []
        self.asked: list[JudgesAsked] = []

    async def convene(self, convene: Convene) -> RoundResult:
        self.convened.append(convene)
        if not self._rounds:
            raise AssertionError(f"the script has no result for round {convene.round}")
        return self._rounds.pop(0)

    async def ask_judges(self, asks: Sequence[AskJudge], *, jurors: int = 0, grace: float = 0.0) -> tuple[Outcome, ...]:
        self.asked.append(JudgesAsked(tuple(asks), jurors, grace))
        return tuple(self._outcome(ask) for ask in asks)

    def _outcome(self, ask: AskJudge) -> Outcome:
        if not self._outcomes:
            raise AssertionError(f"the script has no outcome for {ask.judge}")
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, JudgeInterrupted):
            raise outcome
        return outcome
