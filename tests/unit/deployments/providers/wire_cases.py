"""What every wire format is put through."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from fusion.chat import Call, ImagePart, JsonSchema, Message, Request, Sampling, TextPart, Tool, ToolCall

PNG = "iVBORw0KGgo="
WEATHER = Tool("get_weather", "says it", {"type": "object", "properties": {"city": {"type": "string"}}}, strict=True)
TIME = Tool("get_time")

CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", (TextPart("What is it?"), ImagePart(f"data:image/png;base64,{PNG}"))),
    Message(
        "assistant",
        "Let me see.",
        tool_calls=(
            ToolCall("call_1", "get_weather", '{"city": "Oslo"}'),
            ToolCall("functions.get_time:1", "get_time", ""),
        ),
    ),
    Message("tool", "rain", name="get_weather", tool_call_id="call_1"),
    Message("tool", "noon", tool_call_id="functions.get_time:1"),
    Message("developer", "Stay brief."),
    Message("user", "And now?"),
)


def call_of(*messages: Message, **more: Any) -> Call:
    """A call with these messages, or with one question."""
    return Call("ada", Request(messages or (Message("user", "2+2?"),), **more), timeout_s=5.0)


def sampled(**settings: Any) -> Call:
    return call_of(sampling=Sampling(**settings))


SCHEMA = JsonSchema("answer", {"type": "object", "properties": {"n": {"type": "integer"}}}, strict=True)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def shaped(*names: str) -> st.SearchStrategy[Any]:
    """JSON that has these names in it, at any depth and with anything as their values."""
    keys = st.sampled_from(names)
    words = st.sampled_from([*names, "text", "error", "tool_use", "STOP", "stop", ""])
    leaves = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | words | st.text(max_size=3)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
        max_leaves=30,
    )


@st.composite
def mutated(draw: st.DrawFn, *documents: Any) -> Any:
    """One of these documents with some of its parts replaced, taken out or put into others."""
    holder = [copy.deepcopy(draw(st.sampled_from(documents)))]
    for _ in range(draw(st.integers(1, 4))):
        parent: Any = holder
        key: Any = 0
        while isinstance(parent[key], dict | list) and parent[key] and (parent is holder or draw(st.integers(0, 4))):
            parent = parent[key]
            key = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
        if isinstance(parent, dict) and not draw(st.integers(0, 3)):
            del parent[key]
        elif parent is not holder:
            odd = st.sampled_from(["tool_use", "error", "stop", -1, {}, []])
            parent[key] = draw(odd | JSON | st.just([parent[key]]))
    return holder[0]
