"""What the request bodies of several formats share: refusals, system prompts, turns, images and tool call arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from deployments.egress.images import DATA_URL
from deployments.providers.lenient_json import parse_json
from fusion.chat import Call, ImagePart, Message, ToolCall
from fusion.errors import MalformedReply, MemberRejected

Turn = tuple[str, list[dict[str, Any]]]
"""A role, and the content blocks that it says."""


def refused(parameter: str, provider: str, call: Call, why: str = "there is no such parameter") -> MemberRejected:
    """Returns the error for a parameter that a provider does not support."""
    return MemberRejected(f"{parameter} is not supported by {provider}: {why}", member=call.member)


def split_conversation(
    call: Call, provider: str, write_turn: Callable[[Message, int], Turn], *, content_key: str
) -> tuple[str, list[dict[str, Any]]]:
    """Splits a call's messages into the system prompt and the turns of the conversation.

    System and developer messages are joined by blank lines, in their order. `write_turn` makes a turn of any other
    message and its position; consecutive turns of one role are merged, with their blocks under `content_key`, and turns
    without blocks are left out.

    Raises:
        MemberRejected: a participant has a name, a system message has an image, or there are system messages alone.
    """
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for position, message in enumerate(call.request.messages):
        if message.name is not None and message.role != "tool":
            raise refused(f"messages[{position}].name", provider, call)
        if message.role in ("system", "developer"):
            refuse_images(message, position, provider, call)
            system.append(message.text)
            continue
        role, blocks = write_turn(message, position)
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1][content_key] += blocks
        elif blocks:
            turns.append({"role": role, content_key: blocks})
    if not turns:
        raise refused("messages", provider, call, "one that is not empty and not a system message is needed")
    return "\n\n".join(filter(None, system)), turns


def refuse_images(message: Message, position: int, provider: str, call: Call) -> None:
    """Refuses a message with images, for roles that cannot have any.

    Raises:
        MemberRejected: the message has an image.
    """
    if isinstance(message.content, tuple) and any(isinstance(part, ImagePart) for part in message.content):
        raise refused(f"an image in messages[{position}]", provider, call, f"its role is {message.role}")


def json_arguments(tool_call: ToolCall, position: int, provider: str, call: Call) -> dict[str, Any]:
    """Parses the arguments of a tool call in the history, for providers that take them as an object and not as text.

    Raises:
        MemberRejected: they are not a JSON object.
    """
    try:
        arguments = parse_json(tool_call.arguments or "{}")
    except MalformedReply:
        arguments = None
    if not isinstance(arguments, dict):
        where = f"messages[{position}].tool_calls"
        raise refused(where, provider, call, "the arguments must be a JSON object") from None
    return cast("dict[str, Any]", arguments)


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image in the request itself, as base64."""

    media_type: str
    data: str


def image_source(part: ImagePart, provider: str, call: Call) -> InlineImage | str:
    """Returns an image's own bytes, or the https URL that the provider fetches it from.

    Raises:
        MemberRejected: the URL is neither.
    """
    if match := DATA_URL.match(part.url):
        return InlineImage(match[1].lower(), part.url[match.end() :])
    if part.url[:8].lower() == "https://":
        return part.url
    raise refused("image_url", provider, call, "an image must be a base64 data: URL or an https: URL")
