"""Reads chat completions out of response bodies, and the parts that a stream's chunks share with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from deployments.providers.builders import CompletionBuilder
from deployments.providers.lenient_json import as_count, as_dict, as_list, as_str, dump_json
from deployments.providers.openai.errors import raise_error_in
from fusion.chat import Completion, FinishReason, Usage
from fusion.errors import MalformedReply

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def read_completion(body: object) -> Completion:
    """Reads the completion in a response's body.

    Raises:
        MalformedReply: the body has no first choice with a message.
        MemberError: the body is an error.
    """
    response = as_dict(body)
    choice = first_choice(response)
    message = as_dict(choice.get("message"))
    if not message:
        raise MalformedReply("the reply has no choices[0].message")
    answer = CompletionBuilder()
    text, reasoning, is_refusal = text_and_reasoning(message)
    answer.add(text, reasoning)
    for entry in as_list(message.get("tool_calls")):
        call_id, name, arguments = tool_call_parts(as_dict(entry))
        answer.add_tool_call(call_id).add(arguments, name)
    return answer.build(finish_reason(choice.get("finish_reason"), is_refusal), usage_in(response))


def first_choice(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice of a response or a chunk, empty when there is none.

    Raises:
        MemberError: the response, or the choice, is an error.
    """
    choices = as_list(response.get("choices"))
    choice = as_dict(choices[0] if choices else None)
    raise_error_in(response, choice)
    return choice


def text_and_reasoning(message: Mapping[str, Any]) -> tuple[str, str, bool]:
    """The text of a message or a delta, the reasoning that it shows, and whether the text is a refusal."""
    text, refusal = as_str(message.get("content")), as_str(message.get("refusal"))
    # DeepSeek and older vLLM name it `reasoning_content`, OpenRouter and newer vLLM `reasoning`, some send both.
    reasoning = as_str(message.get("reasoning_content")) or as_str(message.get("reasoning"))
    for part in map(as_dict, as_list(message.get("content"))):  # Mistral's reasoning models
        text += as_str(part.get("text"))
        reasoning += "".join(as_str(as_dict(piece).get("text")) for piece in as_list(part.get("thinking")))
    return text + refusal, reasoning, bool(refusal)


def tool_call_parts(tool_call: Mapping[str, Any]) -> tuple[str, str, str]:
    """The id, the function's name and its arguments, as far as a tool call or a delta of one has them."""
    function = as_dict(tool_call.get("function"))
    arguments = function.get("arguments")
    text = dump_json(cast("object", arguments)) if isinstance(arguments, dict) else as_str(arguments)
    return as_str(tool_call.get("id")), as_str(function.get("name")), text


def finish_reason(reason: object, is_refusal: bool) -> FinishReason:
    """Translates a finish reason; an unknown one is `stop`."""
    if is_refusal:
        return "content_filter"
    return _FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"


def usage_in(response: Mapping[str, Any]) -> Usage | None:
    """The usage in a response or a chunk, None when there is none."""
    usage = as_dict(response.get("usage"))
    input_tokens, output_tokens = as_count(usage.get("prompt_tokens")), as_count(usage.get("completion_tokens", 0))
    if input_tokens is None or output_tokens is None:
        return None
    cached = as_dict(usage.get("prompt_tokens_details")).get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    reasoning = as_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")
    return Usage(input_tokens, output_tokens, as_count(cached), as_count(reasoning))
