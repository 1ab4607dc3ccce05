"""Bodies as providers document them, typed from their public documentation; every file names its pages.

`<api>.json` holds replies with the completion that each is, and errors with what each stands for; `<api>_*.sse` are
streams.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.providers.base import StreamReader
from deployments.providers.lenient_json import parse_json
from deployments.providers.sse import EventStream
from fusion.chat import Completion, Delta, ToolCall, Usage

_FOLDER = Path(__file__).parent


def cases(api: str, kind: str) -> list[Any]:
    """The `replies` or `errors` of an API, as pytest takes parameters."""
    found: dict[str, Any] = json.loads((_FOLDER / f"{api}.json").read_text())[kind]
    return [pytest.param(case, id=name) for name, case in found.items()]


def bodies(api: str) -> list[Any]:
    """Every recorded body of an API."""
    return [case.values[0]["body"] for kind in ("replies", "errors") for case in cases(api, kind)]


def completion(expected: dict[str, Any]) -> Completion:
    """A completion as the files write it: calls as `[id, name, arguments]`, usage in the order of its fields."""
    usage = expected.get("usage")
    return Completion(
        text=expected.get("text", ""),
        tool_calls=tuple(ToolCall(*call) for call in expected.get("tool_calls", ())),
        finish_reason=expected.get("finish_reason", "stop"),
        usage=None if usage is None else Usage(*usage),
        reasoning=expected.get("reasoning", ""),
    )


def stream_bytes(name: str) -> bytes:
    return (_FOLDER / f"{name}.sse").read_bytes()


def documents(stream: bytes) -> Iterator[object]:
    """The JSON documents of a stream."""
    events = EventStream()
    for data in [*events.feed(stream), *events.close()]:
        if data != b"[DONE]":
            yield parse_json(data)


def read(reader: StreamReader, stream: bytes) -> tuple[list[Delta], Completion]:
    """What a reader makes of a stream."""
    deltas = [delta for document in documents(stream) if (delta := reader.feed(document))]
    return deltas, reader.completion()


def added_up(deltas: list[Delta]) -> Completion:
    """The completion that deltas add up to, but for its finish reason and usage."""
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        for piece in delta.tool_calls:
            known = calls.setdefault(piece.index, ["", "", ""])
            known[0] += piece.id or ""
            known[1] += piece.name or ""
            known[2] += piece.arguments
    return Completion(
        text="".join(delta.text for delta in deltas),
        tool_calls=tuple(ToolCall(*calls[index]) for index in sorted(calls)),
        reasoning="".join(delta.reasoning for delta in deltas),
    )
