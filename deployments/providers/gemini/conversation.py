"""Writes a conversation as the Gemini API takes it: contents of parts, with the system prompt aside."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from deployments.providers.requests import (
    InlineImage,
    Turn,
    image_source,
    json_arguments,
    refuse_images,
    refused,
    split_conversation,
)
from fusion.chat import Call, ImagePart, Message

PROVIDER = "Gemini"

# Gemini 3 refuses the function calls of a history without the signature that it gave with them. A fused answer's calls
# may be another model's, which have none; this replaces it (https://ai.google.dev/gemini-api/docs/thought-signatures).
_NO_SIGNATURE = "skip_thought_signature_validator"


def conversation(call: Call) -> tuple[str, list[dict[str, Any]]]:
    """Returns the system prompt and the contents of a call's messages.

    Raises:
        MemberRejected: the API has no place for what a message holds.
    """
    functions: dict[str, str] = {}

    def write_turn(message: Message, position: int) -> Turn:
        functions.update({made.id: made.name for made in message.tool_calls})
        role = "model" if message.role == "assistant" else "user"
        if message.role == "tool":
            return role, [_function_response(message, functions, position, call)]
        return role, _parts(message, position, call)

    return split_conversation(call, PROVIDER, write_turn, content_key="parts")


def _parts(message: Message, position: int, call: Call) -> list[dict[str, Any]]:
    content = message.content
    parts: list[dict[str, Any]] = []
    if isinstance(content, tuple):
        parts = [_image(part, call) if isinstance(part, ImagePart) else {"text": part.text} for part in content]
    elif content:
        parts = [{"text": content}]
    calls: list[dict[str, Any]] = [
        {"functionCall": {"id": made.id, "name": made.name, "args": json_arguments(made, position, PROVIDER, call)}}
        for made in message.tool_calls
    ]
    if calls:
        calls[0]["thoughtSignature"] = _NO_SIGNATURE
    return parts + calls


def _function_response(message: Message, functions: Mapping[str, str], position: int, call: Call) -> dict[str, Any]:
    """A tool's result. `functions` are the names of the functions called so far, by the call's id."""
    refuse_images(message, position, PROVIDER, call)
    name = functions.get(message.tool_call_id or "") or message.name
    if name is None:
        raise refused(f"messages[{position}].tool_call_id", PROVIDER, call, "it answers no call of the conversation")
    response = {"id": message.tool_call_id, "name": name, "response": {"output": message.text}}
    return {"functionResponse": response}


def _image(part: ImagePart, call: Call) -> dict[str, Any]:
    source = image_source(part, PROVIDER, call)
    if isinstance(source, InlineImage):
        return {"inlineData": {"mimeType": source.media_type, "data": source.data}}
    media_type, _ = mimetypes.guess_type(urlsplit(source).path)
    return {"fileData": ({"mimeType": media_type} if media_type else {}) | {"fileUri": source}}
