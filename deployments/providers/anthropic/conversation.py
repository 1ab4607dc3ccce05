"""A conversation as Anthropic's Messages API takes it: turns of content blocks, with the system messages aside."""

from __future__ import annotations

import re
from typing import Any

from deployments.providers.base import InlineImage, image_source, refused
from deployments.providers.lenient_json import parsed
from fusion.chat import Call, ImagePart, Message, ToolCall
from fusion.errors import MalformedReply

PROVIDER = "Anthropic"


_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


def conversation(call: Call) -> tuple[str, list[dict[str, Any]]]:
    """The system prompt and the turns of a call's messages.

    Raises:
        MemberRejected: a message holds what there is no place for.
    """
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for position, message in enumerate(call.request.messages):
        if message.name is not None and message.role != "tool":
            raise refused(f"messages[{position}].name", PROVIDER, call)
        if message.role in ("system", "developer"):
            _refuse_images(message, position, call)
            system.append(message.text)
            continue
        role, blocks = _turn(message, position, call)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise refused("messages", PROVIDER, call, "it needs one that says something and is no system message")
    return "\n\n".join(filter(None, system)), turns


def _turn(message: Message, position: int, call: Call) -> tuple[str, list[dict[str, Any]]]:
    if message.role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id or "")}
        if blocks := _blocks(message, call):
            result["content"] = blocks
        return "user", [result]
    if message.role == "user":
        return "user", _blocks(message, call)
    _refuse_images(message, position, call)
    return "assistant", _blocks(message, call) + [_tool_use(made, position, call) for made in message.tool_calls]


def _blocks(message: Message, call: Call) -> list[dict[str, Any]]:
    """A message's content; empty texts are left out, for they are refused."""
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


def _refuse_images(message: Message, position: int, call: Call) -> None:
    if isinstance(message.content, tuple) and any(isinstance(part, ImagePart) for part in message.content):
        raise refused(f"an image in messages[{position}]", PROVIDER, call, f"its role is {message.role}")


def _tool_use(made: ToolCall, position: int, call: Call) -> dict[str, Any]:
    try:
        arguments = parsed(made.arguments or "{}")
    except MalformedReply:
        arguments = None
    if not isinstance(arguments, dict):
        where = f"messages[{position}].tool_calls"
        raise refused(where, PROVIDER, call, "the arguments must be a JSON object") from None
    return {"type": "tool_use", "id": _id(made.id), "name": made.name, "input": arguments}


def _id(call_id: str) -> str:
    """A tool call's id in the characters that are taken here; the call may be another model's."""
    return _NOT_IN_AN_ID.sub("_", call_id)
