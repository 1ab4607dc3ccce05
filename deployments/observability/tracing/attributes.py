"""Span attributes of requests and answers, named by OpenTelemetry's conventions for generative AI, and `fusion.*` where
those have no name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from fusion.chat import Call, Completion, Message, Request, ToolCall, Usage
from fusion.member import MemberProfile
from fusion.presets import Task
from fusion.pricing import cost_usd
from fusion.results import Fused


def of_call(call: Call, profile: MemberProfile, provider: str | None, *, streams: bool) -> dict[str, Any]:
    """A call, before it is answered."""
    sampling = call.request.sampling.over(profile.sampling)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": profile.model,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        "gen_ai.request.presence_penalty": sampling.presence_penalty,
        "gen_ai.request.stop_sequences": sampling.stop,
        "gen_ai.request.stream": streams or None,
        "gen_ai.output.type": "json" if call.request.response_schema else "text",
        "fusion.member": profile.name,
        "fusion.backend": profile.backend,
        "fusion.purpose": call.purpose,
    }


def of_completion(completion: Completion, profile: MemberProfile | None) -> dict[str, Any]:
    """What an answer used and cost."""
    return {
        **of_usage(completion.usage),
        "gen_ai.response.finish_reasons": [completion.finish_reason],
        "fusion.cost_usd": cost_usd(completion.usage, profile.price if profile else None),
        "fusion.answered_by": completion.answered_by,
        "fusion.outcome": "answered",
    }


def of_usage(usage: Usage | None) -> dict[str, Any]:
    """The tokens of a call; empty if its backend reported none."""
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def of_task(task: Task) -> dict[str, Any]:
    """A fused request, before it is answered."""
    preset = task.preset
    return {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": preset.name,
        "fusion.preset": preset.name,
        "fusion.mode": preset.mode,
        "fusion.panel": preset.panel,
        "fusion.judges": preset.judges,
        "fusion.quorum": preset.quorum,
        "fusion.deadline_s": preset.policy.deadline_s,
    }


def of_fused(fused: Fused) -> dict[str, Any]:
    """What came of a fused request."""
    return {
        **of_usage(fused.usage),
        "gen_ai.response.finish_reasons": [fused.completion.finish_reason],
        "fusion.cost_usd": fused.cost_usd,
        "fusion.degraded": fused.degraded,
        "fusion.overhead_vs_slowest_member": fused.overhead_vs_slowest_member,
        **of_decision(fused),
        "fusion.outcome": "answered",
    }


def of_decision(fused: Fused) -> dict[str, Any]:
    """Who decided, and for whom."""
    return {"fusion.judge": fused.judge, "fusion.winner": fused.verdict.winner if fused.verdict else None}


def prompt(request: Request) -> dict[str, str]:
    """What was asked, in the conventions' JSON."""
    return {"gen_ai.input.messages": to_json([_message(message) for message in request.messages]).decode()}


def answer(completion: Completion) -> dict[str, str]:
    """What was answered, in the conventions' JSON."""
    parts: list[Mapping[str, Any]] = []
    if completion.reasoning:
        parts.append({"type": "reasoning", "content": completion.reasoning})
    if completion.text:
        parts.append({"type": "text", "content": completion.text})
    parts += map(_tool_call, completion.tool_calls)
    finish = {"stop": "stop", "length": "length", "tool_calls": "tool_call", "content_filter": "content_filter"}
    message = {"role": "assistant", "parts": parts, "finish_reason": finish[completion.finish_reason]}
    return {"gen_ai.output.messages": to_json([message]).decode()}


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        parts: list[Mapping[str, Any]] = [
            {"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}
        ]
    else:
        parts = [{"type": "text", "content": message.text}] if message.text else []
    return {"role": message.role, "parts": [*parts, *map(_tool_call, message.tool_calls)]}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
