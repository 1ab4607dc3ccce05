"""Writes the bodies of requests to the Messages API.

Where the call has `reasoning`, an effort asks for adaptive thinking, which models from 4.6 on take, and a number of
tokens for the older kind with a budget, which models up to 4.6 take.
"""

from __future__ import annotations

from typing import Any

from deployments.providers.anthropic.conversation import PROVIDER, conversation
from deployments.providers.anthropic.json_schema import UnclosableObject, closed_schema
from deployments.providers.requests import refused
from fusion.chat import Call, JsonSchema, Reasoning, Request, Sampling, Tool

DEFAULT_MAX_TOKENS = 16_384
"""The `max_tokens` of calls that set none: the API requires it."""

MIN_THINKING_TOKENS = 1024


def message_body(call: Call, model: str, *, stream: bool) -> dict[str, Any]:
    """Returns the request body for a call.

    Raises:
        MemberRejected: the API does not support what the call asks for.
    """
    request, sampling = call.request, call.request.sampling
    _check_supported(sampling, call)
    system, turns = conversation(call)
    body: dict[str, Any] = {"model": model, "max_tokens": sampling.max_tokens or DEFAULT_MAX_TOKENS}
    if system:
        body["system"] = system
    body["messages"] = turns
    settings = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    body |= {name: value for name, value in settings.items() if value is not None}
    if sampling.stop:
        body["stop_sequences"] = list(sampling.stop)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if choice := _tool_choice(request):
            body["tool_choice"] = choice
    output: dict[str, Any] = {}
    if request.response_schema is not None:
        output["format"] = _output_format(request.response_schema, call)
    if sampling.reasoning is not None:
        body["thinking"] = _thinking(sampling.reasoning, body["max_tokens"], call)
        if body["thinking"]["type"] == "adaptive":
            output["effort"] = sampling.reasoning.effort
    if output:
        body["output_config"] = output
    return body | ({"stream": True} if stream else {})


def _check_supported(sampling: Sampling, call: Call) -> None:
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(sampling, name) is not None:
            raise refused(name, PROVIDER, call)
    if sampling.temperature is not None and sampling.temperature > 1:
        raise refused("temperature", PROVIDER, call, "it goes from 0 to 1")


def _thinking(wanted: Reasoning, max_tokens: int, call: Call) -> dict[str, Any]:
    if wanted.effort == "none":
        return {"type": "disabled"}
    if wanted.effort == "minimal":
        raise refused("reasoning.effort", PROVIDER, call, "the lowest effort is low, not minimal")
    if wanted.max_tokens is None:
        return {"type": "adaptive"}
    if not MIN_THINKING_TOKENS <= wanted.max_tokens < max_tokens:
        bounds = f"it must be at least {MIN_THINKING_TOKENS} and less than max_tokens, which is {max_tokens}"
        raise refused("reasoning.max_tokens", PROVIDER, call, bounds)
    return {"type": "enabled", "budget_tokens": wanted.max_tokens}


def _tool(tool: Tool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["input_schema"] = {"type": "object", **(tool.parameters or {})}
    return body | ({} if tool.strict is None else {"strict": tool.strict})


def _tool_choice(request: Request) -> dict[str, Any] | None:
    _, function, name = (request.tool_choice or "").partition("function:")
    if function:
        choice: dict[str, Any] = {"type": "tool", "name": name}
    elif request.tool_choice is None and request.parallel_tool_calls is not False:
        return None
    else:
        choice = {"type": {"required": "any", "none": "none"}.get(request.tool_choice or "", "auto")}
    if request.parallel_tool_calls is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _output_format(wanted: JsonSchema, call: Call) -> dict[str, Any]:
    if not wanted.schema:
        raise refused("response_format", PROVIDER, call, "json_schema is needed, not json_object")
    try:
        return {"type": "json_schema", "schema": closed_schema(wanted.schema)}
    except UnclosableObject:
        raise refused("response_format", PROVIDER, call, "every property of an object must be named") from None
