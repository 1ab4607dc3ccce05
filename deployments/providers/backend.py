"""Where a remote API is, which format it speaks, and how long to wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from deployments.providers.anthropic.format import AnthropicFormat
from deployments.providers.base import Api, WireFormat
from deployments.providers.gemini.format import GeminiFormat
from deployments.providers.hosts import dialect_of, takes_bearer_token
from deployments.providers.http import UpstreamClient
from deployments.providers.openai.format import OpenAIFormat
from deployments.secrets import Secret


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step of a call may take. The request's own deadline caps them all."""

    connect_s: float = 5.0
    first_token_s: float = 30.0
    idle_s: float = 20.0
    """Between two tokens."""
    total_s: float = 120.0


@dataclass(frozen=True, slots=True)
class RemoteBackend:
    """One remote API."""

    base_url: str
    """Ends in the API's version: `https://api.openai.com/v1`, `https://api.anthropic.com/v1`,
    `https://generativelanguage.googleapis.com/v1beta`."""
    key: Secret | None = None
    """Where the API key is found."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_connections: int = 256
    api: Api = "openai"

    def wire_format(self) -> WireFormat:
        """Returns the format that the API speaks."""
        match self.api:
            case "openai":
                return OpenAIFormat(dialect_of(self.base_url))
            case "anthropic":
                return AnthropicFormat(bearer=takes_bearer_token(self.base_url))
            case "gemini":
                return GeminiFormat()

    def client(self, transport: httpx.AsyncBaseTransport | None = None) -> UpstreamClient:
        """Returns an HTTP client of the API, with its key; the backend's members can share it. `transport` replaces the
        network.

        Raises:
            MissingSecret: the API key is not where the configuration says, or cannot be sent.
        """
        key = None if self.key is None else self.key.header_value()
        return UpstreamClient(
            self.base_url.rstrip("/") + "/",
            {**self.wire_format().headers(key), "content-type": "application/json", "accept-encoding": "identity"},
            connect_s=self.timeouts.connect_s,
            max_connections=self.max_connections,
            transport=transport,
        )

    def url(self, model: str, *, stream: bool) -> str:
        """Returns the URL that calls to a model are sent to."""
        return f"{self.base_url.rstrip('/')}/{self.wire_format().path(model, stream=stream)}"
