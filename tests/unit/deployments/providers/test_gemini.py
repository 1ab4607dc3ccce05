"""Google's Gemini API."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given

import fusion.errors
from deployments.providers.errors import error_from_response
from deployments.providers.gemini.format import GeminiFormat
from deployments.providers.gemini.stream import GeminiStreamReader
from fusion.chat import Call, Completion, Delta, ImagePart, JsonSchema, Message, TextPart, Tool, ToolCall, Usage
from fusion.errors import MemberError, MemberOverloaded, MemberRejected
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

FORMAT = GeminiFormat()


def body_of(call: Call) -> dict[str, Any]:
    body = FORMAT.body(call, "gemini", stream=False)
    assert body == FORMAT.body(call, "gemini", stream=True)
    return dict(body)


def test_a_conversation_with_everything_in_it() -> None:
    assert body_of(call_of(*CONVERSATION)) == {
        "systemInstruction": {"parts": [{"text": "Be brief.\n\nStay brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "What is it?"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "Let me see."},
                    {
                        "functionCall": {"id": "call_1", "name": "get_weather", "args": {"city": "Oslo"}},
                        "thoughtSignature": "skip_thought_signature_validator",
                    },
                    {"functionCall": {"id": "functions.get_time:1", "name": "get_time", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "call_1", "name": "get_weather", "response": {"output": "rain"}}},
                    {
                        "functionResponse": {
                            "id": "functions.get_time:1",
                            "name": "get_time",
                            "response": {"output": "noon"},
                        }
                    },
                    {"text": "And now?"},
                ],
            },
        ],
    }


def test_every_setting_has_its_name() -> None:
    call = sampled(
        temperature=0.5, top_p=0.9, max_tokens=7, stop=("a",), seed=3, frequency_penalty=0.1, presence_penalty=0.2
    )
    assert body_of(call) == {
        "contents": [{"role": "user", "parts": [{"text": "2+2?"}]}],
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 7,
            "seed": 3,
            "frequencyPenalty": 0.1,
            "presencePenalty": 0.2,
            "stopSequences": ["a"],
        },
    }


STRICTLESS = Tool("get_weather")


@pytest.mark.parametrize(
    ("tools", "choice", "expected"),
    [
        ((TIME,), None, None),
        ((TIME,), "auto", {"mode": "AUTO"}),
        ((TIME,), "none", {"mode": "NONE"}),
        ((TIME,), "required", {"mode": "ANY"}),
        ((TIME,), "function:get_time", {"mode": "ANY", "allowedFunctionNames": ["get_time"]}),
        ((TIME, WEATHER), None, {"mode": "VALIDATED"}),
        ((TIME, WEATHER), "auto", {"mode": "VALIDATED"}),
        ((TIME, WEATHER), "required", {"mode": "ANY"}),
    ],
)
def test_tool_choice(tools: tuple[Tool, ...], choice: str | None, expected: object) -> None:
    body = body_of(call_of(tools=tools, tool_choice=choice, parallel_tool_calls=True))
    assert body.get("toolConfig") == (None if expected is None else {"functionCallingConfig": expected})


def test_tools() -> None:
    assert body_of(call_of(tools=(WEATHER, TIME)))["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_weather",
                    "description": "says it",
                    "parametersJsonSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
                {"name": "get_time"},
            ]
        }
    ]


def test_response_formats() -> None:
    assert body_of(call_of(response_schema=SCHEMA))["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA.schema,
    }
    assert body_of(call_of(response_schema=JsonSchema()))["generationConfig"] == {
        "responseMimeType": "application/json"
    }


def image(url: str, detail: str | None = None) -> Message:
    return Message("user", (TextPart("?"), ImagePart(url, detail)))


def test_images_by_url() -> None:
    def file_data(url: str) -> object:
        return body_of(call_of(image(url)))["contents"][0]["parts"][1]["fileData"]

    typed, untyped = "https://x.org/cat.png?sig=a%2Fb", "https://x.org/cat"
    assert file_data(typed) == {"mimeType": "image/png", "fileUri": typed}
    assert file_data(untyped) == {"fileUri": untyped}


def test_an_images_detail_is_the_requests_resolution() -> None:
    call = call_of(image("https://x.org/a.png", "low"), image("https://x.org/b.png", "low"))
    assert body_of(call)["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert "generationConfig" not in body_of(call_of(image("https://x.org/a.png", "auto")))


TEXT = Message("user", "hi")


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (call_of(tools=(TIME,), parallel_tool_calls=False), "parallel_tool_calls"),
        (call_of(Message("user", "hi", name="ann")), "messages[0].name"),
        (call_of(Message("system", "hi")), "messages"),
        (call_of(image("https://x.org/a.png", "low"), image("https://x.org/b.png")), "image_url.detail"),
        (call_of(image("ftp://x.org/a.png")), "image_url"),
        (call_of(TEXT, Message("system", (ImagePart("https://x.org/a.png"),))), "an image in messages[1]"),
        (
            call_of(TEXT, Message("tool", (ImagePart("https://x.org/a.png"),), name="f", tool_call_id="a")),
            "an image in messages[1]",
        ),
        (call_of(TEXT, Message("tool", "rain", tool_call_id="a")), "messages[1].tool_call_id"),
        (call_of(TEXT, Message("assistant", None, tool_calls=(ToolCall("a", "f", "7"),))), "messages[1].tool_calls"),
    ],
)
def test_what_it_cannot_do_is_named(call: Call, parameter: str) -> None:
    with pytest.raises(MemberRejected) as caught:
        body_of(call)
    assert caught.value.message.startswith(f"{parameter} is not supported by Gemini: ")
    assert caught.value.member == "ada"


def test_a_result_names_the_latest_call_of_its_id() -> None:
    call = call_of(
        TEXT,
        Message("assistant", None, tool_calls=(ToolCall("a", "f", ""),)),
        Message("tool", "1", tool_call_id="a"),
        Message("assistant", None, tool_calls=(ToolCall("a", "g", ""),)),
        Message("tool", "2", tool_call_id="a"),
    )
    results = [part["functionResponse"]["name"] for turn in body_of(call)["contents"][2::2] for part in turn["parts"]]
    assert results == ["f", "g"]


def test_headers_and_path() -> None:
    assert FORMAT.headers("k") == {"x-goog-api-key": "k"}
    assert FORMAT.headers(None) == {}
    assert FORMAT.path("gemini-2.5-flash", stream=False) == "models/gemini-2.5-flash:generateContent"
    assert FORMAT.path("tunedModels/a?b", stream=True) == "tunedModels/a%3Fb:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("case", cases("gemini", "replies"))
def test_replies(case: dict[str, Any]) -> None:
    assert FORMAT.completion(case["body"]) == completion(case["completion"])


@pytest.mark.parametrize("case", cases("gemini", "errors"))
def test_errors(case: dict[str, Any]) -> None:
    error = error_in(FORMAT, case)
    assert type(error) is getattr(fusion.errors, case["error"])
    assert error.message == case["message"]
    if "retry_after_s" in case:
        assert isinstance(error, MemberOverloaded)
        assert error.retry_after_s == case["retry_after_s"]


def test_a_stream_with_thoughts_and_tools() -> None:
    deltas, whole = read(GeminiStreamReader(), stream_bytes("gemini_tools"))
    (made,) = whole.tool_calls
    assert made.id.startswith("call_")
    assert whole == Completion(
        "It is 4.",
        (ToolCall(made.id, "get_time", '{"zone":"CET"}'),),
        "tool_calls",
        Usage(11, 29, None, 20),
        reasoning="Two and two.",
    )
    assert deltas[:2] == [Delta(reasoning="Two and two."), Delta("It is ")]
    assert added_up(deltas).tool_calls == whole.tool_calls


def test_an_error_in_mid_stream() -> None:
    with pytest.raises(MemberOverloaded, match="UNAVAILABLE"):
        read(GeminiStreamReader(), stream_bytes("gemini_error"))


@given(JSON | mutated(*bodies("gemini")))
def test_no_reply_breaks_it(body: object) -> None:
    with contextlib.suppress(MemberError):
        assert isinstance(FORMAT.completion(body), Completion)
    assert isinstance(error_from_response(400, {}, FORMAT.error_details(body), "ada"), MemberError)


@given(mutated(list(documents(stream_bytes("gemini_tools")))))
def test_no_stream_breaks_it(chunks: list[object]) -> None:
    reader = GeminiStreamReader()
    deltas: list[Delta] = []
    with contextlib.suppress(MemberError):
        deltas += [delta for chunk in chunks if (delta := reader.feed(chunk))]
        whole = reader.completion()
        pieces = added_up(deltas)
        assert (pieces.text, pieces.tool_calls, pieces.reasoning) == (whole.text, whole.tool_calls, whole.reasoning)
