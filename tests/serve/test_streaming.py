"""Streams, byte by byte through a raw socket, and as OpenAI's own client reads them."""

import json
import socket
import time
from typing import Any

import openai
import pytest

from tests.serve.conftest import Served

QUESTION: Any = [{"role": "user", "content": "What is 2 + 2?"}]


def raw_stream(served: Served, body: dict[str, Any]) -> tuple[bytes, list[tuple[float, bytes]]]:
    """The response's head, and every piece of its body with the time it came at."""
    content = json.dumps({"messages": QUESTION, "stream": True, **body}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head.encode() + content)
        received, pieces = b"", []
        while piece := connection.recv(65536):
            received += piece
            pieces.append((time.monotonic(), piece))
    return received.split(b"\r\n\r\n", 1)[0], pieces


def events(pieces: list[tuple[float, bytes]]) -> list[Any]:
    """The stream's data, with HTTP's chunk framing taken off."""
    body = b"".join(piece for _, piece in pieces).split(b"\r\n\r\n", 1)[1]
    content = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        content, body = content + rest[:length], rest[length + 2 :]
    *lines, last = content.split(b"\n\n")
    assert last == b""
    assert all(line.startswith(b"data: ") for line in lines)
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def test_a_merge_streams_the_judges_tokens_as_they_come(served: Served) -> None:
    head, pieces = raw_stream(served, {"model": "fusion/merge", "stream_options": {"include_usage": True}})

    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/event-stream" in head.lower()
    arrivals = [at for at, piece in pieces if b'"content":' in piece]
    # The judge model writes a word every 100 ms: the words come apart, not at once.
    assert arrivals[-1] - arrivals[0] > 0.15
    chunks = events(pieces)
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    assert "".join(deltas) == "All things considered: four ✓"
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["fusion"]["judge"] == "writes"
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_without_asking_there_is_no_usage_and_no_event(served: Served) -> None:
    _, pieces = raw_stream(served, {"model": "fusion/merge"})

    chunks = events(pieces)
    assert all("usage" not in chunk for chunk in chunks)
    assert [chunk for chunk in chunks if "event" in chunk.get("fusion", {})] == []


def test_progress_is_streamed_when_asked_for(served: Served) -> None:
    include = ["events", "candidates"]
    _, pieces = raw_stream(served, {"model": "fusion/best-of", "fusion": {"include": include, "quorum": 3}})

    chunks = events(pieces)
    told = [chunk["fusion"]["event"] for chunk in chunks if "event" in chunk.get("fusion", {})]
    kinds = [event["type"] for event in told]
    assert kinds[0] == "panel_convened"
    assert kinds[-1] == "judge_asked"
    ended = {event["candidate"]["member"]: event["candidate"] for event in told if event["type"] == "candidate_ended"}
    assert set(ended) == {"four", "five", "six"}
    grown = [event["delta"]["content"] for event in told if event.get("member") == "four"]
    assert "".join(grown) == ended["four"]["content"] == "It is four."
    assert chunks[-1]["fusion"]["candidates"][0]["content"] == "It is four."


def test_a_best_of_streams_the_winners_tool_calls(served: Served) -> None:
    options = {"panel": ["tools"], "judge": "picks"}
    _, pieces = raw_stream(served, {"model": "fusion/best-of", "fusion": options})

    calls = [
        call
        for chunk in events(pieces)
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert calls == [{"index": 0, "id": "call_1", "type": "function", "function": function}]


def test_a_failure_before_the_first_token_has_its_own_status(served: Served) -> None:
    options = {"panel": ["fails"], "quorum": 1}
    head, pieces = raw_stream(served, {"model": "fusion/merge", "fusion": options})

    assert head.startswith(b"HTTP/1.1 502")
    assert b'"code":"no_quorum"' in pieces[-1][1]


def test_a_failure_in_mid_stream_is_an_error_event(served: Served) -> None:
    _, pieces = raw_stream(served, {"model": "fusion/merge", "fusion": {"judge": "breaks"}})

    chunks = events(pieces)
    assert chunks[-1]["error"]["code"] == "judge_interrupted"


def test_the_deadline_in_mid_stream_ends_the_answer_as_cut_off(served: Served) -> None:
    _, pieces = raw_stream(served, {"model": "fusion/merge", "fusion": {"judge": "dawdles", "deadline_s": 3}})

    chunks = events(pieces)
    finish = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1]
    assert finish == "length"
    assert chunks[-1]["fusion"]["degraded"].startswith("deadline")


@pytest.mark.parametrize("preset", ["fusion/best-of", "fusion/merge", "fusion/debate"])
def test_openais_client_reads_every_preset(served: Served, preset: str) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model=preset, messages=QUESTION)
        expected = "It is four." if preset == "fusion/best-of" else "All things considered: four ✓"
        assert whole.choices[0].message.content == expected
        assert (whole.model_extra or {})["fusion"]["preset"] == preset

        include: Any = {"fusion": {"include": ["events", "candidates"]}}
        stream = client.chat.completions.create(model=preset, messages=QUESTION, stream=True, extra_body=include)
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == expected
        assert (chunks[-1].model_extra or {})["fusion"]["mode"] == preset.removeprefix("fusion/")


def test_openais_client_streams_a_plain_member(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="writes", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).endswith("four ✓")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
