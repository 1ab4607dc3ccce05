"""Anthropic's Messages API (https://platform.claude.com/docs/en/api/messages).

Refused before the call: `seed`, `frequency_penalty`, `presence_penalty`, a temperature above 1, the effort `minimal`, a
reasoning token budget below 1024 or not below `max_tokens`, participants' names, an image's `detail`, images that are
neither base64 `data:` URLs in one of four formats nor `https:` URLs, images outside of user messages and tool results,
`json_object` without a schema, schemas of objects with unnamed properties, conversations of system messages alone, and
tool calls in the history whose arguments are not a JSON object.

System messages go to the top, in their order: most models take none among the others. A refusal is the model's answer,
with the finish reason `content_filter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.providers.anthropic.errors import error_details
from deployments.providers.anthropic.requests import message_body
from deployments.providers.anthropic.responses import read_completion
from deployments.providers.anthropic.stream import AnthropicStreamReader
from deployments.providers.base import ErrorDetails
from fusion.chat import Call, Completion

API_VERSION = "2023-06-01"


class AnthropicFormat:
    """The Messages API.

    Args:
        bearer: send the key as a bearer token, too. Some of the servers that copy the API, such as vLLM, read no other
            header; Anthropic itself would take the token for another kind of login, and try it.
    """

    def __init__(self, *, bearer: bool = False) -> None:
        self._bearer = bearer

    def headers(self, key: str | None) -> Mapping[str, str]:
        version = {"anthropic-version": API_VERSION}
        if key is None:
            return version
        return version | {"x-api-key": key} | ({"authorization": f"Bearer {key}"} if self._bearer else {})

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002
        return "messages"

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:
        return message_body(call, model, stream=stream)

    def completion(self, body: object) -> Completion:
        return read_completion(body)

    def stream_reader(self) -> AnthropicStreamReader:
        return AnthropicStreamReader()

    def error_details(self, body: object) -> ErrorDetails:
        return error_details(body)
