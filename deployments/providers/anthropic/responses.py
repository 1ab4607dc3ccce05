"""Reads completions out of response bodies, and the parts that a stream's events share with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.providers.anthropic.errors import error_details
from deployments.providers.builders import CompletionBuilder
from deployments.providers.errors import error_from_details
from deployments.providers.lenient_json import as_count, as_dict, as_list, as_str, dump_json
from fusion.chat import Completion, FinishReason, Usage
from fusion.errors import MalformedReply

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def read_completion(body: object) -> Completion:
    """Reads the completion in a response's body.

    Raises:
        MalformedReply: the body has no content blocks.
        MemberError: the body is an error.
    """
    response = as_dict(body)
    if response.get("type") == "error":
        raise error_from_details(error_details(body))
    if not isinstance(response.get("content"), list):
        raise MalformedReply("the reply has no content blocks")
    answer = CompletionBuilder()
    for block in map(as_dict, as_list(response.get("content"))):
        match block.get("type"):
            case "text":
                answer.add(as_str(block.get("text")))
            case "thinking":
                answer.add(reasoning=as_str(block.get("thinking")))
            case "tool_use":
                call_id, name, arguments = tool_use_parts(block)
                answer.add_tool_call(call_id).add(arguments, name)
            case _:
                pass
    return answer.build(finish_reason(response.get("stop_reason")), read_usage(as_dict(response.get("usage"))))


def tool_use_parts(block: Mapping[str, Any]) -> tuple[str, str, str]:
    """The id, name and input of a `tool_use` block, the id empty when there is none.

    Raises:
        MalformedReply: it has no name.
    """
    name = as_str(block.get("name"))
    if not name:
        raise MalformedReply("a tool call has no name")
    return as_str(block.get("id")), name, dump_json(as_dict(block.get("input")))


def finish_reason(stop_reason: object) -> FinishReason:
    """Translates a stop reason; an unknown one is `stop`."""
    return _FINISH_REASONS.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def read_usage(usage: Mapping[str, Any]) -> Usage | None:
    """Reads a usage object. `input_tokens` alone are those that were neither read from the cache nor written to it."""
    uncached, output_tokens = as_count(usage.get("input_tokens")), as_count(usage.get("output_tokens"))
    if uncached is None or output_tokens is None:
        return None
    read, written = as_count(usage.get("cache_read_input_tokens")), as_count(usage.get("cache_creation_input_tokens"))
    thinking = as_count(as_dict(usage.get("output_tokens_details")).get("thinking_tokens"))
    return Usage(uncached + (read or 0) + (written or 0), output_tokens, read, thinking)
