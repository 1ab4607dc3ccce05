"""Reads streamed chat completions."""

from __future__ import annotations

from deployments.providers.builders import CompletionBuilder, ToolCallBuilder
from deployments.providers.lenient_json import as_count, as_dict, as_list
from deployments.providers.openai.responses import (
    finish_reason,
    first_choice,
    text_and_reasoning,
    tool_call_parts,
    usage_in,
)
from fusion.chat import Completion, Delta, ToolCallDelta, Usage
from fusion.errors import MalformedReply


class OpenAIStreamReader:
    """Reads the chunks of one stream."""

    def __init__(self) -> None:
        self._answer = CompletionBuilder()
        self._tool_calls: dict[int, ToolCallBuilder] = {}
        self._is_refusal = False
        self._finish_reason: object = None
        self._usage: Usage | None = None

    @property
    def ended(self) -> bool:
        """Never: the end is marked by `[DONE]`, which is not a document."""
        return False

    @property
    def usage(self) -> Usage | None:
        return self._usage

    def feed(self, chunk: object) -> Delta | None:
        response = as_dict(chunk)
        if not response:
            raise MalformedReply("a chunk is not a JSON object")
        choice = first_choice(response)
        self._usage = usage_in(response) or self._usage
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = as_dict(choice.get("delta"))
        text, reasoning, is_refusal = text_and_reasoning(delta)
        self._is_refusal = self._is_refusal or is_refusal
        tool_calls = [self._tool_call(entry, i) for i, entry in enumerate(as_list(delta.get("tool_calls")))]
        return self._answer.add(text, reasoning, tuple(tool_calls))

    def completion(self) -> Completion:
        if self._finish_reason is None:
            raise MalformedReply("the stream ended before its finish reason")
        return self._answer.build(finish_reason(self._finish_reason, self._is_refusal), self._usage)

    def _tool_call(self, entry: object, position: int) -> ToolCallDelta:
        index = as_count(as_dict(entry).get("index", position))
        if index is None:
            raise MalformedReply("a tool call's index is not a number")
        call_id, name, arguments = tool_call_parts(as_dict(entry))
        builder = self._tool_calls.get(index)
        # Some servers, such as Ollama, give every call of an answer the index 0.
        if builder is None or (call_id and call_id != builder.id):
            builder = self._tool_calls[index] = self._answer.add_tool_call(call_id)
        return builder.add(arguments, name)
