"""What the providers say, in parts that a fault may spoil."""

from __future__ import annotations

import json
from typing import Any, Protocol

from deployments.providers.base import Api

Document = dict[str, Any]

MISSING = object()
"""Stands for a usage that is not there at all."""


class Provider(Protocol):
    """One provider's documents. `usage` is what stands in the place of its usage."""

    api: Api
    done: bytes

    def usage(self, tokens_in: object, tokens_out: object) -> object: ...

    def whole(self, text: str, usage: object = MISSING) -> Document:
        """A whole answer."""
        ...

    def opening(self, usage: object = MISSING) -> list[Document]:
        """What a stream says before its first token."""
        ...

    def token(self, text: str) -> Document: ...

    def closing(self, usage: object = MISSING) -> list[Document]:
        """What a stream says after its last token, but for `done`."""
        ...

    def complaint(self, status: int, code: str | None, message: str) -> Document: ...


class OpenAI:
    api: Api = "openai"
    done = b"data: [DONE]\n\n"

    def usage(self, tokens_in: object, tokens_out: object) -> object:
        return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}

    def whole(self, text: str, usage: object = MISSING) -> Document:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return _told({"object": "chat.completion", "choices": [choice]}, usage=usage)

    def opening(self, usage: object = MISSING) -> list[Document]:
        return [self.token("")]

    def token(self, text: str) -> Document:
        return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}

    def closing(self, usage: object = MISSING) -> list[Document]:
        finish: Document = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return [finish, _told({"choices": []}, usage=usage)]

    def complaint(self, status: int, code: str | None, message: str) -> Document:
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


class Anthropic:
    api: Api = "anthropic"
    done = b""

    def usage(self, tokens_in: object, tokens_out: object) -> object:
        return {"input_tokens": tokens_in, "output_tokens": tokens_out}

    def whole(self, text: str, usage: object = MISSING) -> Document:
        blocks = [{"type": "text", "text": text}] if text else []
        return _told({"type": "message", "content": blocks, "stop_reason": "end_turn"}, usage=usage)

    def opening(self, usage: object = MISSING) -> list[Document]:
        message = _told({"type": "message", "content": [], "stop_reason": None}, usage=usage)
        return [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
        ]

    def token(self, text: str) -> Document:
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}

    def closing(self, usage: object = MISSING) -> list[Document]:
        return [
            {"type": "content_block_stop", "index": 0},
            _told({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, usage=usage),
            {"type": "message_stop"},
        ]

    def complaint(self, status: int, code: str | None, message: str) -> Document:
        return {"type": "error", "error": {"type": code, "message": message}}


class Gemini:
    api: Api = "gemini"
    done = b""

    def usage(self, tokens_in: object, tokens_out: object) -> object:
        return {"promptTokenCount": tokens_in, "candidatesTokenCount": tokens_out}

    def whole(self, text: str, usage: object = MISSING) -> Document:
        content = {"parts": [{"text": text}], "role": "model"}
        return _told({"candidates": [{"content": content, "finishReason": "STOP"}]}, usageMetadata=usage)

    def opening(self, usage: object = MISSING) -> list[Document]:
        return [_told({"candidates": [{"content": {"role": "model"}}]}, usageMetadata=usage)]

    def token(self, text: str) -> Document:
        return {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]}

    def closing(self, usage: object = MISSING) -> list[Document]:
        return [_told({"candidates": [{"content": {}, "finishReason": "STOP"}]}, usageMetadata=usage)]

    def complaint(self, status: int, code: str | None, message: str) -> Document:
        return {"error": {"code": status, "message": message, "status": code}}


PROVIDERS: tuple[Provider, ...] = (OpenAI(), Anthropic(), Gemini())


def sse(*documents: Document) -> bytes:
    """Documents as events, announced by their type where they have one."""
    return b"".join(
        (f"event: {document['type']}\n" if "type" in document else "").encode()
        + b"data: %b\n\n" % json.dumps(document, ensure_ascii=False).encode()
        for document in documents
    )


def _told(document: Document, **usage: object) -> Document:
    return document | {name: value for name, value in usage.items() if value is not MISSING}
