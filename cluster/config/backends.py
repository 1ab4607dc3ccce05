"""Backends as the configuration file has them: vLLM engines and remote APIs."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from cluster.config.base import Seconds, StrictModel, is_loopback
from deployments.providers.base import Api
from deployments.providers.member import RemoteBackend, Timeouts
from deployments.providers.openai.dialects import dialect_of
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.secrets import Secret

IO_BOUND_CPUS = 0.1
"""Coordinating and waiting for others takes little of a core."""


class Replicas(StrictModel):
    """How many replicas serve a deployment, and how many calls each should have under way."""

    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] = 1
    target_ongoing: Annotated[int, Field(ge=1)] = 64

    @property
    def max_ongoing(self) -> int:
        """How many calls a replica takes; as many again may wait for it."""
        return 4 * self.target_ongoing

    @model_validator(mode="after")
    def _in_order(self) -> Replicas:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be below min ({self.min})")
        return self


class RemoteReplicas(Replicas):
    """How many replicas serve a remote backend's members, how many calls each should have under way, and how much of
    a core Ray sets aside for each."""

    target_ongoing: Annotated[int, Field(ge=1)] = 256
    num_cpus: Annotated[float, Field(gt=0)] = IO_BOUND_CPUS


class Placement(StrictModel):
    """How Ray places a replica's shards on nodes."""

    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"


class VllmBackendConfig(StrictModel):
    """A vLLM engine of our own."""

    kind: Literal["vllm"]
    model: Annotated[str, Field(min_length=1)]
    engine: dict[str, Any] = Field(default_factory=dict[str, Any])
    accelerator: Annotated[str, Field(min_length=1)]
    placement: Placement = Placement()
    replicas: Replicas = Replicas()
    env: dict[str, str] = Field(default_factory=dict[str, str])

    @property
    def context_tokens(self) -> int | None:
        """How many tokens a prompt and its answer may have together; None where the model itself says so."""
        most = self.engine.get("max_model_len")
        return most if isinstance(most, int) and most > 0 else None

    @property
    def keeps_what_it_read(self) -> bool:
        """Whether a prompt that begins as an earlier one did is read from there on only. With several replicas the
        earlier one may have been read by another."""
        return self.replicas.max == 1 and bool(self.engine.get("enable_prefix_caching", True))


class TimeoutsConfig(StrictModel):
    """Seconds allowed for each stage of a call."""

    connect_s: Seconds = 5.0
    first_token_s: Seconds = 30.0
    idle_s: Seconds = 20.0
    total_s: Seconds = 120.0


class RetriesConfig(StrictModel):
    """How often a failed call is made again, and how long it waits at most before that."""

    attempts: Annotated[int, Field(ge=1, le=10)] = RetrySettings().attempts
    max_backoff_s: Seconds = RetrySettings().max_backoff_s


class BreakerConfig(StrictModel):
    """When a failing backend is left alone, and for how long."""

    failures: Annotated[int, Field(ge=1)] = BreakerSettings().failures
    window_s: Seconds = BreakerSettings().window_s
    cooldown_s: Seconds = BreakerSettings().cooldown_s


class LimitsConfig(StrictModel):
    """How much a backend is asked at once and a minute, all its members together, and how many calls may wait."""

    concurrency: Annotated[int, Field(ge=1)] | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    max_queued: Annotated[int, Field(ge=0)] = LimitSettings().max_queued


class RemoteBackendConfig(StrictModel):
    """A remote API."""

    kind: Literal["remote"]
    api: Api = "openai"
    base_url: str
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    api_key_file: Annotated[str, Field(min_length=1)] | None = None
    allow_http: bool = False
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: RetriesConfig = RetriesConfig()
    breaker: BreakerConfig = BreakerConfig()
    limits: LimitsConfig = LimitsConfig()
    replicas: RemoteReplicas = RemoteReplicas()

    @property
    def cuts_prompts(self) -> bool:
        """Whether it cuts a prompt that is too long without a word."""
        return self.api == "openai" and dialect_of(self.base_url).cuts_prompts

    @model_validator(mode="after")
    def _reachable_safely(self) -> RemoteBackendConfig:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url must be an http or https URL with a host, not {self.base_url!r}")
        _ = url.port  # raises for one that is no port
        if url.username or url.query or url.fragment:
            raise ValueError("base_url must hold neither credentials nor a query: a key belongs into api_key_env")
        if url.scheme == "http" and not (self.allow_http or is_loopback(url.hostname)):
            raise ValueError("base_url must be https off the loopback range, unless allow_http is true")
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("give api_key_env or api_key_file, not both")
        return self


BackendConfig = Annotated[VllmBackendConfig | RemoteBackendConfig, Field(discriminator="kind")]


def remote_backend(config: RemoteBackendConfig) -> RemoteBackend:
    """The backend that a configuration describes. Its key is named, not read."""
    key = None
    if config.api_key_env is not None or config.api_key_file is not None:
        key = Secret(config.api_key_env, config.api_key_file)
    return RemoteBackend(
        config.base_url,
        key,
        Timeouts(**config.timeouts.model_dump()),
        max_connections=config.replicas.max_ongoing,  # a call has one to itself, and none waits for one
        api=config.api,
    )
