"""Writes a conversation as the Messages API takes it: turns of content blocks, with the system prompt aside."""

from __future__ import annotations

import re
from typing import Any

from deployments.providers.requests import (
    InlineImage,
    Turn,
    image_source,
    json_arguments,
    refuse_images,
    refused,
    split_conversation,
)
from fusion.chat import Call, ImagePart, Message, ToolCall

PROVIDER = "Anthropic"

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


def conversation(call: Call) -> tuple[str, list[dict[str, Any]]]:
    """Returns the system prompt and the turns of a call's messages.

    Raises:
        MemberRejected: the API has no place for what a message holds.
    """

    def write_turn(message: Message, position: int) -> Turn:
        if message.role == "tool":
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id or "")}
            if blocks := _blocks(message, call):
                result["content"] = blocks
            return "user", [result]
        if message.role == "user":
            return "user", _blocks(message, call)
        refuse_images(message, position, PROVIDER, call)
        return "assistant", _blocks(message, call) + [_tool_use(made, position, call) for made in message.tool_calls]

    return split_conversation(call, PROVIDER, write_turn, content_key="content")


def _blocks(message: Message, call: Call) -> list[dict[str, Any]]:
    """The blocks of a message's content. Empty texts are left out: the API refuses them."""
    if not isinstance(message.content, tuple):
        return [{"type": "text", "text": message.content}] if message.content else []
    blocks: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ImagePart):
            blocks.append(_image(part, call))
        elif part.text:
            blocks.append({"type": "text", "text": part.text})
    return blocks


def _image(part: ImagePart, call: Call) -> dict[str, Any]:
    if part.detail not in (None, "auto"):
        raise refused("image_url.detail", PROVIDER, call)
    source = image_source(part, PROVIDER, call)
    if not isinstance(source, InlineImage):
        return {"type": "image", "source": {"type": "url", "url": source}}
    if source.media_type not in _IMAGE_TYPES:
        raise refused("image_url", PROVIDER, call, "an image must be JPEG, PNG, GIF or WebP")
    return {"type": "image", "source": {"type": "base64", "media_type": source.media_type, "data": source.data}}


def _tool_use(made: ToolCall, position: int, call: Call) -> dict[str, Any]:
    arguments = json_arguments(made, position, PROVIDER, call)
    return {"type": "tool_use", "id": _id(made.id), "name": made.name, "input": arguments}


def _id(call_id: str) -> str:
    """A tool call's id in the characters that the API accepts; another model may have made the call."""
    return _NOT_IN_AN_ID.sub("_", call_id)
