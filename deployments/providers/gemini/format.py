"""Google's Gemini API, `generateContent` and `streamGenerateContent` (https://ai.google.dev/api/generate-content).

Refused before the call: `parallel_tool_calls: false`, the efforts `xhigh` and `max`, participants' names, an image's
`detail` where the images of a request differ in it, images that are neither base64 `data:` nor `https:` URLs, images in
system messages and tool results, conversations of system messages alone, tool results without their call, and tool
calls in the history whose arguments are not a JSON object.

System messages go to the top, in their order: the API has no others. A prompt that a filter blocks is an error; an
answer that one cuts off has the finish reason `content_filter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from deployments.providers.base import ErrorDetails
from deployments.providers.gemini.errors import error_details
from deployments.providers.gemini.requests import content_body
from deployments.providers.gemini.stream import GeminiStreamReader
from fusion.chat import Call, Completion


class GeminiFormat:
    """The Gemini API."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else {"x-goog-api-key": key}

    def path(self, model: str, *, stream: bool) -> str:
        name = quote(model if "/" in model else f"models/{model}", safe="/-._~")
        return f"{name}:streamGenerateContent?alt=sse" if stream else f"{name}:generateContent"

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:  # noqa: ARG002
        return content_body(call)

    def completion(self, body: object) -> Completion:
        reader = GeminiStreamReader()
        reader.feed(body)
        return reader.completion()

    def stream_reader(self) -> GeminiStreamReader:
        return GeminiStreamReader()

    def error_details(self, body: object) -> ErrorDetails:
        return error_details(body)
