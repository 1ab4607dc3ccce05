"""Anthropic's Messages API."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given

import fusion.errors
from deployments.providers.anthropic.format import AnthropicFormat
from deployments.providers.anthropic.json_schema import UnclosableObject, closed_schema
from deployments.providers.anthropic.requests import DEFAULT_MAX_TOKENS
from deployments.providers.anthropic.stream import AnthropicStreamReader
from deployments.providers.errors import error_from_response
from deployments.providers.hosts import takes_bearer_token
from fusion.chat import (
    Call,
    Completion,
    Delta,
    ImagePart,
    JsonSchema,
    Message,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from fusion.errors import MalformedReply, MemberError, MemberOverloaded, MemberRejected
from fusion.judging.verdict import verdict_schema
from tests.unit.deployments.providers.test_openai import error_in
from tests.unit.deployments.providers.wire_cases import (
    CONVERSATION,
    JSON,
    PNG,
    SCHEMA,
    TIME,
    WEATHER,
    call_of,
    mutated,
    sampled,
    shaped,
)
from tests.unit.deployments.providers.wire_shapes import (
    added_up,
    bodies,
    cases,
    completion,
    documents,
    read,
    stream_bytes,
)

FORMAT = AnthropicFormat()


def body_of(call: Call, *, stream: bool = False) -> dict[str, Any]:
    return dict(FORMAT.body(call, "claude", stream=stream))


def test_a_conversation_with_everything_in_it() -> None:
    assert body_of(call_of(*CONVERSATION), stream=True) == {
        "model": "claude",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "system": "Be brief.\n\nStay brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}},
                    {"type": "tool_use", "id": "functions_get_time_1", "name": "get_time", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
                    {
                        "type": "tool_result",
                        "tool_use_id": "functions_get_time_1",
                        "content": [{"type": "text", "text": "noon"}],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "stream": True,
    }


def test_every_setting_has_its_name() -> None:
    body = body_of(sampled(temperature=0.5, top_p=0.9, max_tokens=7, stop=("a", "b")))
    assert body == {
        "model": "claude",
        "max_tokens": 7,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("function:get_time", None, {"type": "tool", "name": "get_time"}),
    ],
)
def test_tools(choice: str | None, parallel: bool | None, expected: object) -> None:
    body = body_of(call_of(tools=(WEATHER, TIME), tool_choice=choice, parallel_tool_calls=parallel))
    assert body["tools"] == [
        {
            "name": "get_weather",
            "description": "says it",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
            "strict": True,
        },
        {"name": "get_time", "input_schema": {"type": "object"}},
    ]
    assert body.get("tool_choice") == expected


def test_response_format() -> None:
    body = body_of(call_of(response_schema=SCHEMA))
    assert body["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
        }
    }


def test_what_a_schema_says_beyond_what_is_known_is_told_in_words() -> None:
    schema = closed_schema(verdict_schema(["A"]).schema)
    assert schema == {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": schema["properties"]["reason"]["description"]},
            "scores": {
                "type": "object",
                "properties": {"A": {"type": "integer", "description": '{"minimum":0,"maximum":10}'}},
                "required": ["A"],
                "additionalProperties": False,
            },
        },
        "required": ["reason", "scores"],
        "additionalProperties": False,
    }
    assert "maxLength" in schema["properties"]["reason"]["description"]


def test_schemas_of_every_form() -> None:
    assert closed_schema(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {"day": {"type": "string", "format": "date", "description": "a day", "minLength": 1}},
            "oneOf": [{"$ref": "#/$defs/day"}, {"type": "null"}],
        }
    ) == {
        "$defs": {"day": {"type": "string", "format": "date", "description": 'a day\n\n{"minLength":1}'}},
        "anyOf": [{"$ref": "#/$defs/day"}, {"type": "null"}],
    }
    assert closed_schema({"type": "array", "items": {"enum": [1]}, "minItems": 1, "maxItems": 2}) == {
        "type": "array",
        "items": {"enum": [1]},
        "minItems": 1,
        "description": '{"maxItems":2}',
    }
    assert closed_schema({"type": "string", "format": "iban"})["description"] == '{"format":"iban"}'


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
    ],
)
def test_objects_of_unnamed_properties_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnclosableObject):
        closed_schema({"type": "array", "items": schema})
    with pytest.raises(MemberRejected, match="response_format"):
        body_of(call_of(response_schema=JsonSchema("x", schema)))


@given(
    JSON | shaped("type", "properties", "items", "anyOf", "oneOf", "$ref", "$defs", "additionalProperties", "format")
)
def test_no_schema_breaks_it(schema: object) -> None:
    if isinstance(schema, dict):
        with contextlib.suppress(UnclosableObject):
            assert isinstance(closed_schema(schema), dict)


def test_images_by_url_and_in_tool_results() -> None:
    picture = (ImagePart("https://example.org/cat.png", "auto"),)
    call = call_of(
        Message("user", picture),
        Message("assistant", None, tool_calls=(ToolCall("a", "f", "{}"),)),
        Message("tool", picture, tool_call_id="a"),
    )
    source = {"type": "url", "url": "https://example.org/cat.png"}
    turns = body_of(call)["messages"]
    assert turns[0]["content"] == [{"type": "image", "source": source}]
    assert turns[2]["content"][0]["content"] == [{"type": "image", "source": source}]


def test_empty_texts_and_turns_are_left_out() -> None:
    call = call_of(
        Message("system", ""),
        Message("user", (TextPart(""), TextPart("hi"))),
        Message("assistant", ""),
        Message("user", "there"),
        Message("assistant", None, tool_calls=(ToolCall("a", "f", "{}"),)),
        Message("tool", "", tool_call_id="a"),
    )
    body = body_of(call)
    assert "system" not in body
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


TEXT = Message("user", "hi")


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (sampled(seed=1), "seed"),
        (sampled(seed=0), "seed"),
        (sampled(frequency_penalty=0.0), "frequency_penalty"),
        (sampled(presence_penalty=0.1), "presence_penalty"),
        (sampled(temperature=1.5), "temperature"),
        (call_of(response_schema=JsonSchema()), "response_format"),
        (call_of(Message("user", "hi", name="ann")), "messages[0].name"),
        (call_of(Message("system", "hi")), "messages"),
        (call_of(Message("user", (ImagePart("https://x.org/a.png", "low"),))), "image_url.detail"),
        (call_of(Message("user", (ImagePart("http://x.org/a.png"),))), "image_url"),
        (call_of(Message("user", (ImagePart("data:image/heic;base64,AA"),))), "image_url"),
        (call_of(TEXT, Message("system", (ImagePart("https://x.org/a.png"),))), "an image in messages[1]"),
        (call_of(TEXT, Message("assistant", (ImagePart("https://x.org/a.png"),))), "an image in messages[1]"),
        (call_of(TEXT, Message("assistant", None, tool_calls=(ToolCall("a", "f", "[1]"),))), "messages[1].tool_calls"),
        (call_of(TEXT, Message("assistant", None, tool_calls=(ToolCall("a", "f", "{"),))), "messages[1].tool_calls"),
    ],
)
def test_what_it_cannot_do_is_named(call: Call, parameter: str) -> None:
    with pytest.raises(MemberRejected) as caught:
        body_of(call)
    assert caught.value.message.startswith(f"{parameter} is not supported by Anthropic: ")
    assert caught.value.member == "ada"


def test_headers_and_path() -> None:
    assert FORMAT.headers("k") == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert FORMAT.headers(None) == {"anthropic-version": "2023-06-01"}
    assert FORMAT.path("m", stream=True) == "messages"


@pytest.mark.parametrize("case", cases("anthropic", "replies"))
def test_replies(case: dict[str, Any]) -> None:
    assert FORMAT.completion(case["body"]) == completion(case["completion"])


@pytest.mark.parametrize("case", cases("anthropic", "errors"))
def test_errors(case: dict[str, Any]) -> None:
    error = error_in(FORMAT, case)
    assert type(error) is getattr(fusion.errors, case["error"])
    assert error.message == case["message"]


def test_a_stream() -> None:
    reader = AnthropicStreamReader()
    deltas, whole = read(reader, stream_bytes("anthropic_plain"))
    assert deltas == [Delta("Hello"), Delta("!")]
    assert whole == Completion("Hello!", usage=Usage(30, 15, 5))
    assert reader.ended


def test_a_stream_with_thinking_and_tools() -> None:
    deltas, whole = read(AnthropicStreamReader(), stream_bytes("anthropic_tools"))
    first = "toolu_01T1x1fJ34qAmk2tNTrN7Up6"
    assert whole == Completion(
        "Okay",
        (
            ToolCall(first, "get_weather", '{"location": "San Francisco, CA"}'),
            ToolCall("toolu_02", "get_time", "{}"),
        ),
        "tool_calls",
        Usage(472, 89, None, 20),
        reasoning="The weather, then.",
    )
    assert deltas == [
        Delta(reasoning="The weather, "),
        Delta(reasoning="then."),
        Delta("Okay"),
        Delta(tool_calls=(ToolCallDelta(0, first, "get_weather"),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments='{"location":'),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments=' "San Francisco, CA"}'),)),
        Delta(tool_calls=(ToolCallDelta(1, "toolu_02", "get_time"),)),
        Delta(tool_calls=(ToolCallDelta(1, arguments="{}"),)),
    ]


def test_an_error_in_mid_stream() -> None:
    with pytest.raises(MemberOverloaded, match="overloaded_error"):
        read(AnthropicStreamReader(), stream_bytes("anthropic_error"))


def test_a_stream_that_ends_before_its_stop_reason_is_no_answer() -> None:
    reader = AnthropicStreamReader()
    for document in list(documents(stream_bytes("anthropic_plain")))[:-2]:
        reader.feed(document)
    with pytest.raises(MalformedReply, match="before its stop reason"):
        reader.completion()


@given(JSON | mutated(*bodies("anthropic")))
def test_no_reply_breaks_it(body: object) -> None:
    with contextlib.suppress(MemberError):
        assert isinstance(FORMAT.completion(body), Completion)
    assert isinstance(error_from_response(400, {}, FORMAT.error_details(body), "ada"), MemberError)


@given(mutated(list(documents(stream_bytes("anthropic_tools")))))
def test_no_stream_breaks_it(chunks: list[object]) -> None:
    reader = AnthropicStreamReader()
    deltas: list[Delta] = []
    with contextlib.suppress(MemberError):
        deltas += [delta for chunk in chunks if (delta := reader.feed(chunk))]
        whole = reader.completion()
        pieces = added_up(deltas)
        assert (pieces.text, pieces.reasoning) == (whole.text, whole.reasoning)


@pytest.mark.parametrize(
    ("base_url", "bearer"),
    [
        ("https://api.anthropic.com/v1", False),
        ("https://me.services.ai.azure.com/anthropic/v1", False),
        ("https://notanthropic.com/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("nonsense", True),
    ],
)
def test_servers_that_copy_the_api_are_sent_the_key_as_a_bearer_token_too(base_url: str, bearer: bool) -> None:
    assert takes_bearer_token(base_url) is bearer
    headers = AnthropicFormat(bearer=bearer).headers("k")
    assert headers["x-api-key"] == "k"
    assert headers.get("authorization") == ("Bearer k" if bearer else None)
    assert "k" not in AnthropicFormat(bearer=bearer).headers(None).values()
