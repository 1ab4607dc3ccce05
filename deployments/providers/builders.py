"""Builders that put a completion together from the pieces of a response, whichever provider sends them."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid4

from fusion.chat import Completion, Delta, FinishReason, ToolCall, ToolCallDelta, Usage
from fusion.errors import MalformedReply


@dataclass(slots=True)
class ToolCallBuilder:
    """Builds one tool call, the answer's `index`th. `default_arguments` hold where no piece of arguments arrives."""

    index: int
    id: str
    default_arguments: str = ""
    name: str = ""
    _pieces: list[str] = field(default_factory=list[str])

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join(self._pieces)

    def add(self, arguments: str = "", name: str = "") -> ToolCallDelta:
        """Appends a piece of the arguments and returns its delta. The first delta has the call's id, and the first one
        that comes with a name has the name."""
        first, named = not self._pieces, bool(name and not self.name)
        self.name = self.name or name
        self._pieces.append(arguments)
        return ToolCallDelta(self.index, self.id if first else None, name if named else None, arguments)

    def build(self) -> ToolCall:
        """Returns the call.

        Raises:
            MalformedReply: no name arrived.
        """
        if not self.name:
            raise MalformedReply("a tool call has no function name")
        return ToolCall(self.id, self.name, self.arguments or self.default_arguments)


class CompletionBuilder:
    """Builds a completion of text, reasoning and tool calls."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[ToolCallBuilder] = []

    def add(self, text: str = "", reasoning: str = "", tool_calls: tuple[ToolCallDelta, ...] = ()) -> Delta | None:
        """Appends text and reasoning and returns the delta, None when it is empty. `tool_calls` are deltas of builders
        that `add_tool_call` returned."""
        if not text and not reasoning and not tool_calls:
            return None
        self._text.append(text)
        self._reasoning.append(reasoning)
        return Delta(text, tool_calls, reasoning)

    def add_tool_call(self, call_id: str, default_arguments: str = "") -> ToolCallBuilder:
        """Appends a tool call and returns its builder. A call without an id is given one: its result refers to it."""
        builder = ToolCallBuilder(len(self._tool_calls), call_id or f"call_{uuid4().hex[:24]}", default_arguments)
        self._tool_calls.append(builder)
        return builder

    def build(self, finish_reason: FinishReason, usage: Usage | None) -> Completion:
        """Returns the completion. An answer that stopped after calling a tool has the finish reason `tool_calls`.

        Raises:
            MalformedReply: a tool call has no name.
        """
        tool_calls = tuple([builder.build() for builder in self._tool_calls])
        return Completion(
            text="".join(self._text),
            tool_calls=tool_calls,
            finish_reason="tool_calls" if tool_calls and finish_reason == "stop" else finish_reason,
            usage=usage,
            reasoning="".join(self._reasoning),
        )
