"""How long a prompt is, before anyone has counted its tokens."""

from __future__ import annotations

import json

from fusion.chat import Request
from fusion.member import MemberProfile

MOST_BYTES_A_TOKEN = 5
FEWEST_BYTES_A_TOKEN = 3
"""Hardly any text of some length has longer or shorter tokens on average: English prose has about 4.5 bytes a token,
code and Chinese have about 3."""

ANSWER_SHARE = 0.25
"""The share of a context that is kept for an answer whose length nobody bounds."""

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


def heard_bytes(profile: MemberProfile, size: int) -> int:
    """The bytes of a request as a member answers it: with its own system prompt."""
    return size + text_bytes(profile.system or "")


def answer_tokens(profile: MemberProfile, request: Request) -> int:
    """How long a member's answer may be, 0 where nobody says."""
    return request.sampling.max_tokens or profile.sampling.max_tokens or 0


def fewest_tokens(size: int) -> int:
    """How few tokens so many bytes may be: an estimate, for models whose tokenizer is not at hand."""
    return size // MOST_BYTES_A_TOKEN


def most_tokens(size: int) -> int:
    """How many tokens so many bytes may be, in the same way."""
    return -(-size // FEWEST_BYTES_A_TOKEN)
