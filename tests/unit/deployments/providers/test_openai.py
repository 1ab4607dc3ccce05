"""OpenAI's chat completions, and what their copies make of them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given

import fusion.errors
from deployments.providers.errors import error_from_response
from deployments.providers.hosts import dialect_of
from deployments.providers.openai.dialects import COMMON
from deployments.providers.openai.format import OpenAIFormat
from deployments.providers.openai.requests import chat_body
from deployments.providers.openai.responses import read_completion
from deployments.providers.openai.stream import OpenAIStreamReader
from fusion.chat import Completion, Delta, ImagePart, JsonSchema, Message, TextPart, ToolCall, ToolCallDelta, Usage
from fusion.errors import MalformedReply, MemberError, MemberOverloaded, MemberRejected, MemberUnavailable
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

FORMAT = OpenAIFormat()


def test_a_conversation_with_everything_in_it() -> None:
    assert chat_body(call_of(*CONVERSATION), "gpt", stream=False) == {
        "model": "gpt",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
                    },
                    {
                        "id": "functions.get_time:1",
                        "type": "function",
                        "function": {"name": "get_time", "arguments": ""},
                    },
                ],
            },
            {"role": "tool", "content": "rain", "name": "get_weather", "tool_call_id": "call_1"},
            {"role": "tool", "content": "noon", "tool_call_id": "functions.get_time:1"},
            {"role": "system", "content": "Stay brief."},
            {"role": "user", "content": "And now?"},
        ],
    }


def test_every_setting_has_its_name() -> None:
    call = sampled(
        temperature=0.5, top_p=0.9, max_tokens=7, stop=("a",), seed=3, frequency_penalty=0.1, presence_penalty=0.2
    )
    common = {"temperature": 0.5, "top_p": 0.9, "stop": ["a"], "frequency_penalty": 0.1, "presence_penalty": 0.2}
    for base_url, own in {
        "http://127.0.0.1:11434/v1": {"max_tokens": 7, "seed": 3},
        "https://openrouter.ai/api/v1": {
            "max_tokens": 7,
            "seed": 3,
            "provider": {"require_parameters": True},
            "plugins": [{"id": "context-compression", "enabled": False}],
        },
        "https://api.openai.com/v1": {"max_completion_tokens": 7, "seed": 3},
        "https://eu.api.openai.com/v1": {"max_completion_tokens": 7, "seed": 3},
        "https://me.openai.azure.com/openai/v1": {"max_completion_tokens": 7, "seed": 3},
        "https://api.mistral.ai/v1": {"max_tokens": 7, "random_seed": 3},
        "https://notopenai.com/v1": {"max_tokens": 7, "seed": 3},
    }.items():
        body = OpenAIFormat(dialect_of(base_url)).body(call, "m", stream=False)
        assert body == {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], **common, **own}, base_url


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    assert set(chat_body(sampled(stop=()), "m", stream=False)) == {"model", "messages"}


def test_a_stream_is_asked_for_its_usage_where_that_can_be_asked() -> None:
    assert chat_body(call_of(), "m", stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in OpenAIFormat(dialect_of("https://api.mistral.ai/v1")).body(
        call_of(), "m", stream=True
    )


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:11434/v1", "https://ollama.com/v1"])
def test_ollama_is_not_asked_for_what_it_would_leave_out_without_a_word(base_url: str) -> None:
    wire = OpenAIFormat(dialect_of(base_url))
    for choice in ("required", "function:get_time"):
        with pytest.raises(MemberRejected, match="tool_choice is not supported by Ollama"):
            wire.body(call_of(tools=(TIME,), tool_choice=choice), "m", stream=False)
    with pytest.raises(MemberRejected, match="parallel_tool_calls is not supported by Ollama"):
        wire.body(call_of(tools=(TIME,), parallel_tool_calls=False), "m", stream=False)
    auto = wire.body(call_of(tools=(TIME,), tool_choice="auto", parallel_tool_calls=True), "m", stream=False)
    assert set(auto) == {"model", "messages", "tools"}
    # Without tools none is called.
    assert set(wire.body(call_of(tools=(TIME,), tool_choice="none"), "m", stream=False)) == {"model", "messages"}


def test_openai_knows_developers() -> None:
    body = OpenAIFormat(dialect_of("https://api.openai.com/v1")).body(
        call_of(Message("developer", "Be brief.", name="ann")), "m", stream=False
    )
    assert body["messages"] == [{"role": "developer", "content": "Be brief.", "name": "ann"}]
    assert dialect_of("nonsense") == COMMON


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("function:get_time", {"type": "function", "function": {"name": "get_time"}}),
    ],
)
def test_tools(choice: str, expected: object) -> None:
    call = call_of(tools=(WEATHER, TIME), tool_choice=choice, parallel_tool_calls=False)
    body = chat_body(call, "m", stream=False)
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "says it",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                "strict": True,
            },
        },
        {"type": "function", "function": {"name": "get_time"}},
    ]
    assert body["tool_choice"] == expected
    assert body["parallel_tool_calls"] is False


def test_response_formats() -> None:
    body = chat_body(call_of(response_schema=SCHEMA), "m", stream=False)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA.schema, "strict": True},
    }
    assert chat_body(call_of(response_schema=JsonSchema()), "m", stream=False)["response_format"] == {
        "type": "json_object"
    }


def test_images() -> None:
    parts = (TextPart("?"), ImagePart("https://example.org/cat.png", "low"))
    body = chat_body(call_of(Message("user", parts)), "m", stream=False)
    assert body["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "https://example.org/cat.png", "detail": "low"},
    }


@pytest.mark.parametrize("url", ["http://example.org/x.png", "file:///etc/passwd", "data:text/html;base64,AA", "x", ""])
def test_no_other_images(url: str) -> None:
    with pytest.raises(MemberRejected, match="image_url is not supported by OpenAI") as caught:
        chat_body(call_of(Message("user", (ImagePart(url),))), "m", stream=False)
    assert caught.value.member == "ada"


def test_headers_and_path() -> None:
    assert FORMAT.headers("sk-1") == {"authorization": "Bearer sk-1"}
    assert FORMAT.headers(None) == {}
    assert FORMAT.path("m", stream=True) == FORMAT.path("m", stream=False) == "chat/completions"


@pytest.mark.parametrize("case", cases("openai", "replies"))
def test_replies(case: dict[str, Any]) -> None:
    assert read_completion(case["body"]) == completion(case["completion"])


@pytest.mark.parametrize("case", cases("openai", "errors"))
def test_errors(case: dict[str, Any]) -> None:
    error = error_in(FORMAT, case)
    assert type(error) is getattr(fusion.errors, case["error"])
    assert error.message == case["message"]


def error_in(wire: Any, case: dict[str, Any]) -> MemberError:
    """What a recorded error is to a format: by its status, or found in a body that claims to be a reply."""
    if case["status"] != 200:
        return error_from_response(case["status"], {}, wire.error_details(case["body"]), "ada")
    with pytest.raises(MemberError) as caught:
        wire.completion(case["body"])
    reader = wire.stream_reader()
    with pytest.raises(MemberError) as streamed:  # noqa: PT012
        reader.feed(case["body"])
        reader.completion()
    assert str(streamed.value) == str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai_plain", Completion("Grüße, 世界 🌍", usage=Usage(19, 6, 3, 0))),
        (
            "openai_tools",
            Completion(
                "",
                (ToolCall("call_1", "get_weather", '{"city": "Oslo"}'), ToolCall("call_2", "get_time", "{}")),
                "tool_calls",
            ),
        ),
        (
            "openai_reused_index",
            Completion(
                "",
                (ToolCall("call_a", "write", '{"path":"a"}'), ToolCall("call_b", "write", '{"path":"b"}')),
                "tool_calls",
            ),
        ),
        ("openai_reasoning", Completion("4", usage=Usage(7, 9, None, 8), reasoning="Two and two.")),
        ("openai_refusal", Completion("I'm sorry, I cannot.", finish_reason="content_filter")),
    ],
)
def test_streams(name: str, expected: Completion) -> None:
    deltas, whole = read(OpenAIStreamReader(), stream_bytes(name))
    assert whole == expected
    pieces = added_up(deltas)
    assert (pieces.text, pieces.tool_calls, pieces.reasoning) == (whole.text, whole.tool_calls, whole.reasoning)


def test_the_pieces_of_tool_calls() -> None:
    deltas, _ = read(OpenAIStreamReader(), stream_bytes("openai_tools"))
    assert deltas == [
        Delta(tool_calls=(ToolCallDelta(0, "call_1", "get_weather"),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments='{"city":'),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments=' "Oslo"}'),)),
        Delta(tool_calls=(ToolCallDelta(1, "call_2", "get_time", "{}"),)),
    ]


def test_tool_calls_without_ids_are_given_some() -> None:
    entry = {"function": {"name": "f", "arguments": "{}"}}
    whole = read_completion({"choices": [{"message": {"tool_calls": [entry, entry]}, "finish_reason": "tool_calls"}]})
    first, second = whole.tool_calls
    assert first.id.startswith("call_")
    assert first.id != second.id
    reader = OpenAIStreamReader()
    delta = reader.feed({"choices": [{"delta": {"tool_calls": [entry]}, "finish_reason": "tool_calls"}]})
    assert delta is not None
    assert delta.tool_calls[0].id == reader.completion().tool_calls[0].id != ""


@pytest.mark.parametrize(
    ("name", "kind"), [("openai_error", MemberUnavailable), ("openrouter_error", MemberOverloaded)]
)
def test_errors_in_mid_stream(name: str, kind: type[MemberError]) -> None:
    reader = OpenAIStreamReader()
    first, second = documents(stream_bytes(name))
    assert reader.feed(first) == Delta("It ")
    with pytest.raises(kind):
        reader.feed(second)


def test_a_stream_that_ends_before_its_finish_is_no_answer() -> None:
    reader = OpenAIStreamReader()
    for document in list(documents(stream_bytes("openai_plain")))[:3]:
        reader.feed(document)
    with pytest.raises(MalformedReply, match="before its finish"):
        reader.completion()


def test_a_stream_needs_no_done_and_no_usage() -> None:
    reader = OpenAIStreamReader()
    for document in list(documents(stream_bytes("openai_plain")))[:4]:
        reader.feed(document)
    assert reader.completion() == Completion("Grüße, 世界 🌍")


@given(JSON | mutated(*bodies("openai")))
def test_no_reply_breaks_it(body: object) -> None:
    with contextlib.suppress(MemberError):
        assert isinstance(read_completion(body), Completion)
    assert isinstance(error_from_response(400, {}, FORMAT.error_details(body), "ada"), MemberError)


@given(mutated(list(documents(stream_bytes("openai_tools")))))
def test_no_stream_breaks_it(chunks: list[object]) -> None:
    reader = OpenAIStreamReader()
    deltas: list[Delta] = []
    with contextlib.suppress(MemberError):
        deltas += [delta for chunk in chunks if (delta := reader.feed(chunk))]
        whole = reader.completion()
        pieces = added_up(deltas)
        assert (pieces.text, pieces.tool_calls, pieces.reasoning) == (whole.text, whole.tool_calls, whole.reasoning)
