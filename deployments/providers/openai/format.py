"""OpenAI's chat completions, as OpenAI and the servers that copy its API speak them: OpenRouter, Mistral, Together,
vLLM, Ollama.

Refused before the call: images that are neither base64 `data:` nor `https:` URLs; a reasoning token budget, but at
OpenRouter; and at Ollama, which would ignore them silently, a `tool_choice` that demands a call and
`parallel_tool_calls: false`. Everything else is sent, and a server that does not support it answers with an error.

A refusal is the model's answer, with the finish reason `content_filter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.providers.base import ErrorDetails
from deployments.providers.openai.dialects import COMMON, Dialect
from deployments.providers.openai.errors import error_details
from deployments.providers.openai.requests import chat_body
from deployments.providers.openai.responses import read_completion
from deployments.providers.openai.stream import OpenAIStreamReader
from fusion.chat import Call, Completion


class OpenAIFormat:
    """The chat completions API of a server that speaks this dialect."""

    def __init__(self, dialect: Dialect = COMMON) -> None:
        self._dialect = dialect

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002
        return "chat/completions"

    def body(self, call: Call, model: str, *, stream: bool) -> Mapping[str, Any]:
        return chat_body(call, model, stream=stream, dialect=self._dialect)

    def completion(self, body: object) -> Completion:
        return read_completion(body)

    def stream_reader(self) -> OpenAIStreamReader:
        return OpenAIStreamReader()

    def error_details(self, body: object) -> ErrorDetails:
        return error_details(body)
