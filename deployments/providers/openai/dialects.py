"""What differs between the servers that speak OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the servers that speak this format. The default is what most of those take that are not
    OpenAI: `max_tokens` (OpenAI's reasoning models refuse it, Mistral refuses `max_completion_tokens` and Ollama knows
    it as little), and no `developer` messages, which most chat templates have no place for."""

    max_tokens: str = "max_tokens"
    seed: str = "seed"
    stream_options: bool = True
    developer_role: bool = False
    reasoning_object: bool = False
    tool_choice: bool = True
    """Whether it reads `tool_choice` and `parallel_tool_calls`."""
    truncates_silently: bool = False
    """Whether it cuts a prompt that is too long without a word, and cannot be told not to."""
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else every body has."""


COMMON = Dialect()


_OPENAI = Dialect(max_tokens="max_completion_tokens", developer_role=True)


_MISTRAL = Dialect(seed="random_seed", stream_options=False)


# It leaves out whatever the provider that it chooses does not take, unless it is told to choose another one, and cuts
# prompts that are too long for models of short contexts, unless it is told not to.
# https://openrouter.ai/docs/guides/features/message-transforms
_OPENROUTER = Dialect(
    reasoning_object=True,
    more={
        "provider": {"require_parameters": True},
        "plugins": [{"id": "context-compression", "enabled": False}],
    },
)


# https://github.com/ollama/ollama/issues/17921 and https://github.com/ollama/ollama/issues/17889
_OLLAMA = Dialect(tool_choice=False, truncates_silently=True)


_BY_DOMAIN = {
    "openai.com": _OPENAI,
    "openai.azure.com": _OPENAI,
    "mistral.ai": _MISTRAL,
    "openrouter.ai": _OPENROUTER,
    "ollama.com": _OLLAMA,
}


_OLLAMA_PORT = 11434


def dialect_of(base_url: str) -> Dialect:
    """The dialect of the server at this URL, told by its host, or by the port that is Ollama's own."""
    url = urlsplit(base_url)
    if url.port == _OLLAMA_PORT:
        return _OLLAMA
    host = f".{url.hostname or ''}"
    return next((dialect for domain, dialect in _BY_DOMAIN.items() if host.endswith(f".{domain}")), COMMON)
