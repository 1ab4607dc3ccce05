"""Reads responses, streamed or in one piece: each chunk of a stream is shaped like a whole response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.providers.builders import CompletionBuilder
from deployments.providers.errors import error_from_details, machine_code
from deployments.providers.gemini.errors import error_details
from deployments.providers.lenient_json import as_count, as_dict, as_list, as_str, dump_json
from fusion.chat import Completion, Delta, FinishReason, ToolCallDelta, Usage
from fusion.errors import MalformedReply, MemberRejected

_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "MODEL_ARMOR",
    }
)

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
}

# The model broke off, so that its answer is not one.
_BROKEN_OFF = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "OTHER",
    }
)


class GeminiStreamReader:
    """Reads the chunks of one stream."""

    def __init__(self) -> None:
        self._answer = CompletionBuilder()
        self._usage: dict[str, Any] = {}
        self._finish_reason: str | None = None

    @property
    def ended(self) -> bool:
        """Never: the stream ends when the response does."""
        return False

    @property
    def usage(self) -> Usage | None:
        return _read_usage(self._usage)

    def feed(self, chunk: object) -> Delta | None:
        response = as_dict(chunk)
        if "error" in response or as_list(chunk):
            raise error_from_details(error_details(chunk))
        if not response:
            raise MalformedReply("the reply is not a JSON object")
        self._usage |= as_dict(response.get("usageMetadata"))
        candidates = as_list(response.get("candidates"))
        if not candidates:
            _raise_if_blocked(response)
            return None
        candidate = as_dict(candidates[0])
        self._finish_reason = as_str(candidate.get("finishReason")) or self._finish_reason
        return self._add(as_list(as_dict(candidate.get("content")).get("parts")))

    def completion(self) -> Completion:
        if self._finish_reason is None:
            raise MalformedReply("the reply ended before its finish reason")
        if self._finish_reason in _BROKEN_OFF:
            raise MalformedReply(f"the model broke off ({self._finish_reason})")
        return self._answer.build(_FINISH_REASONS.get(self._finish_reason, "stop"), self.usage)

    def _add(self, parts: Any) -> Delta | None:
        text, reasoning, tool_calls = "", "", list[ToolCallDelta]()
        for part in map(as_dict, parts):
            if part.get("thought") is True:
                reasoning += as_str(part.get("text"))
            else:
                text += as_str(part.get("text"))
            if part.get("functionCall") is not None:
                tool_calls.append(self._tool_call(as_dict(part["functionCall"])))
        return self._answer.add(text, reasoning, tuple(tool_calls))

    def _tool_call(self, function_call: Mapping[str, Any]) -> ToolCallDelta:
        name = as_str(function_call.get("name"))
        if not name:
            raise MalformedReply("a function call has no name")
        arguments = dump_json(as_dict(function_call.get("args")))
        return self._answer.add_tool_call(as_str(function_call.get("id"))).add(arguments, name)


def _raise_if_blocked(response: Mapping[str, Any]) -> None:
    if reason := as_dict(response.get("promptFeedback")).get("blockReason"):
        code = machine_code(reason)
        raise MemberRejected("the prompt was blocked" + (f" ({code})" if code else ""))


def _read_usage(usage: Mapping[str, Any]) -> Usage | None:
    # Counts that are zero are left out.
    names = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    prompt, tool_results, answer, thoughts = (as_count(usage.get(name, 0)) for name in names)
    if "promptTokenCount" not in usage or None in (prompt, tool_results, answer, thoughts):
        return None
    return Usage(
        input_tokens=(prompt or 0) + (tool_results or 0),
        output_tokens=(answer or 0) + (thoughts or 0),
        cached_tokens=as_count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=as_count(usage.get("thoughtsTokenCount")),
    )
