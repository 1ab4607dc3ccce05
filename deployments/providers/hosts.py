"""What is known of a remote API by the host in its base URL: its dialect, its provider's name, how it takes its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from deployments.providers.base import Api
from deployments.providers.openai.dialects import COMMON, MISTRAL, OLLAMA, OPENAI, OPENROUTER, Dialect


@dataclass(frozen=True, slots=True)
class _Host:
    """`provider` is the name of the API's provider in OpenTelemetry's conventions, None where they have none."""

    provider: str | None
    dialect: Dialect = COMMON


_BY_DOMAIN: Mapping[str, _Host] = {
    "openai.com": _Host("openai", OPENAI),
    "openai.azure.com": _Host("azure.ai.openai", OPENAI),
    "mistral.ai": _Host("mistral_ai", MISTRAL),
    "openrouter.ai": _Host("openrouter", OPENROUTER),
    "ollama.com": _Host(None, OLLAMA),
    "groq.com": _Host("groq"),
    "deepseek.com": _Host("deepseek"),
    "x.ai": _Host("x_ai"),
    "perplexity.ai": _Host("perplexity"),
}

_UNKNOWN = _Host(None)

_OLLAMA_PORT = 11434

_PROVIDER_OF_API: Mapping[Api, str] = {"openai": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}


def dialect_of(base_url: str) -> Dialect:
    """Returns the dialect of chat completions that the server speaks. Ollama's own port tells it on any host."""
    return OLLAMA if urlsplit(base_url).port == _OLLAMA_PORT else _host(base_url).dialect


def provider_of(api: Api, base_url: str) -> str:
    """Returns the provider's name in OpenTelemetry's conventions: its host's where that is known, else its format's."""
    return _host(base_url).provider or _PROVIDER_OF_API[api]


def takes_bearer_token(base_url: str) -> bool:
    """Whether a server that speaks Anthropic's format reads the key from a bearer token: it is neither Anthropic's own
    nor Azure's."""
    return not _is_in(base_url, "anthropic.com") and not _is_in(base_url, "azure.com")


def _host(base_url: str) -> _Host:
    return next((host for domain, host in _BY_DOMAIN.items() if _is_in(base_url, domain)), _UNKNOWN)


def _is_in(base_url: str, domain: str) -> bool:
    return f".{urlsplit(base_url).hostname or ''}".endswith(f".{domain}")
