"""Reads streamed responses (https://platform.claude.com/docs/en/build-with-claude/streaming)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.providers.anthropic.errors import error_details
from deployments.providers.anthropic.responses import finish_reason, read_usage, tool_use_parts
from deployments.providers.builders import CompletionBuilder, ToolCallBuilder
from deployments.providers.errors import error_from_details
from deployments.providers.lenient_json import as_count, as_dict, as_str
from fusion.chat import Completion, Delta, Usage
from fusion.errors import MalformedReply


class AnthropicStreamReader:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self._answer = CompletionBuilder()
        self._open_calls: dict[int, ToolCallBuilder] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: object = None
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def usage(self) -> Usage | None:
        return read_usage(self._usage)

    def feed(self, chunk: object) -> Delta | None:
        event = as_dict(chunk)
        match event.get("type"):
            case "message_start":
                self._update_usage(as_dict(event.get("message")).get("usage"))
            case "content_block_start":
                return self._start_block(event)
            case "content_block_delta":
                return self._extend_block(event)
            case "content_block_stop":
                return self._end_block(event)
            case "message_delta":
                self._stop_reason = as_dict(event.get("delta")).get("stop_reason") or self._stop_reason
                self._update_usage(event.get("usage"))
            case "message_stop":
                self._ended = True
            case "error":
                raise error_from_details(error_details(event))
            case str():
                pass  # pings, and events that the API may add
            case _:
                raise MalformedReply("an event has no type")
        return None

    def completion(self) -> Completion:
        if self._stop_reason is None:
            raise MalformedReply("the stream ended before its stop reason")
        return self._answer.build(finish_reason(self._stop_reason), self.usage)

    def _update_usage(self, usage: object) -> None:
        # Later events repeat some of the earlier counts as null.
        self._usage |= {name: value for name, value in as_dict(usage).items() if value is not None}

    def _start_block(self, event: Mapping[str, Any]) -> Delta | None:
        block = as_dict(event.get("content_block"))
        if block.get("type") != "tool_use":
            return self._answer.add(as_str(block.get("text")), as_str(block.get("thinking")))
        call_id, name, arguments = tool_use_parts(block)
        # A call without arguments streams none, and some servers send them whole at the block's start.
        call = self._open_calls[_index(event)] = self._answer.add_tool_call(call_id, default_arguments=arguments)
        return self._answer.add(tool_calls=(call.add(name=name),))

    def _extend_block(self, event: Mapping[str, Any]) -> Delta | None:
        delta = as_dict(event.get("delta"))
        if delta.get("type") != "input_json_delta":
            return self._answer.add(as_str(delta.get("text")), as_str(delta.get("thinking")))
        call = self._open_calls.get(_index(event))
        arguments = as_str(delta.get("partial_json"))
        return self._answer.add(tool_calls=(call.add(arguments),)) if call and arguments else None

    def _end_block(self, event: Mapping[str, Any]) -> Delta | None:
        call = self._open_calls.pop(_index(event), None)
        if call is None or call.arguments:
            return None
        return self._answer.add(tool_calls=(call.add(call.default_arguments),))


def _index(event: Mapping[str, Any]) -> int:
    index = as_count(event.get("index"))
    if index is None:
        raise MalformedReply("a content block has no index")
    return index
