"""How long a prompt is, before anyone has counted its tokens."""

from __future__ import annotations

import json

from fusion.values import Request

MOST_BYTES_A_TOKEN = 5
"""Hardly any text of some length has longer tokens on average: English prose has about 4.5 bytes a token."""

_TEMPLATE_BYTES = 256
_MESSAGE_BYTES = 32


def size_bytes(request: Request) -> int:
    """The bytes of everything that a model is shown of a request, with what a chat template adds, at the high end;
    images have none.

    A token is a byte at least, so a prompt has no more tokens than this.
    """
    size = _TEMPLATE_BYTES + _MESSAGE_BYTES * len(request.messages)
    for message in request.messages:
        size += text_bytes(message.text)
        for call in message.tool_calls:
            size += text_bytes(call.name) + text_bytes(call.arguments)
    for tool in request.tools:
        size += _MESSAGE_BYTES + text_bytes(json.dumps([tool.name, tool.description, tool.parameters], default=str))
    return size


def text_bytes(text: str) -> int:
    """A text's length in UTF-8, which costs nothing where it is all ASCII."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def tokens_at_least(size: int) -> int:
    """How few tokens so many bytes may be: an estimate, for models whose tokenizer is not at hand."""
    return size // MOST_BYTES_A_TOKEN
