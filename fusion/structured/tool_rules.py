"""What a request demands of tool calls, and what of an answer does not keep to it."""

from __future__ import annotations

from dataclasses import replace

from fusion.chat import Completion, Request, ToolCall
from fusion.structured.json_schema import BadSchema, compile_schema, follows
from fusion.text.json_text import NotJson, read_json


def requires_call(request: Request) -> bool:
    """Whether the request demands that a tool is called."""
    return request.tool_choice is not None and request.tool_choice not in ("auto", "none")


def makes_required_call(completion: Completion, request: Request) -> bool:
    """Whether the calls are what `tool_choice` demands: some call, or calls of the named function alone."""
    _, named, function = (request.tool_choice or "").partition("function:")
    made = completion.tool_calls
    return bool(made) and (not named or all(call.name == function for call in made))


def without_forbidden_calls(completion: Completion, request: Request) -> Completion:
    """The completion's words alone where `tool_choice` is `none`."""
    if request.tool_choice != "none" or not completion.tool_calls:
        return completion
    ended = "stop" if completion.finish_reason == "tool_calls" else completion.finish_reason
    return replace(completion, tool_calls=(), finish_reason=ended)


def is_possible(call: ToolCall, request: Request) -> bool:
    """Whether there is such a function, and the arguments follow its schema."""
    tools = {tool.name: tool for tool in request.tools}
    if tools and call.name not in tools:
        return False
    parameters = tools[call.name].parameters if tools else None
    try:
        arguments = read_json(call.arguments or "{}")
        return isinstance(arguments, dict) and follows(compile_schema(parameters or {"type": "object"}), arguments)
    except (NotJson, BadSchema):
        return False


def rule_violation(completion: Completion, request: Request) -> str | None:
    """What of an answer is not as the request demands, as `degraded` has it: `missing_call` or `invalid_call`."""
    if requires_call(request) and not makes_required_call(completion, request):
        return "missing_call: no tool is called as tool_choice demands"
    if not all(is_possible(call, request) for call in completion.tool_calls):
        return "invalid_call: a call is of no function that there is, or its arguments break the function's schema"
    if len(completion.tool_calls) > 1 and request.parallel_tool_calls is False:
        return "invalid_call: several calls, and parallel_tool_calls is false"
    return None
