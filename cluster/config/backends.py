"""Backends as the configuration file has them: vLLM engines and remote APIs."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from cluster.config.base import Seconds, StrictModel, is_loopback
from deployments.providers.backend import RemoteBackend, Timeouts
from deployments.providers.base import Api
from deployments.providers.hosts import dialect_of
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.secrets import Secret

IO_BOUND_CPUS = 0.1
"""Cores that Ray reserves for a replica that mostly waits for others."""


class Replicas(StrictModel):
    """The replicas of a deployment."""

    min: Annotated[int, Field(ge=1)] = 1
    """Minimum number of replicas."""
    max: Annotated[int, Field(ge=1)] = 1
    """Maximum number of replicas."""
    target_ongoing: Annotated[int, Field(ge=1)] = 64
    """Concurrent calls per replica that autoscaling aims at."""

    @property
    def max_ongoing(self) -> int:
        """Maximum number of calls that a replica runs at once. As many again may wait for it."""
        return 4 * self.target_ongoing

    @model_validator(mode="after")
    def _in_order(self) -> Replicas:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be below min ({self.min})")
        return self


class RemoteReplicas(Replicas):
    """The replicas of a remote backend. Each serves all of its members."""

    target_ongoing: Annotated[int, Field(ge=1)] = 256
    """Concurrent calls per replica, of all members together, that autoscaling aims at."""
    num_cpus: Annotated[float, Field(gt=0)] = IO_BOUND_CPUS
    """Cores that Ray reserves for each replica."""


class Placement(StrictModel):
    """How Ray places a replica's shards on nodes."""

    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """Strategy of the placement group that holds the shards of a replica."""


class VllmBackendConfig(StrictModel):
    """A vLLM engine of our own."""

    kind: Literal["vllm"]
    model: Annotated[str, Field(min_length=1)]
    """Hub id, local path or object store URL."""
    engine: dict[str, Any] = Field(default_factory=dict[str, Any])
    """vLLM's engine arguments, verbatim."""
    accelerator: Annotated[str, Field(min_length=1)]
    """`cpu`, `gpu` for any GPU, or a GPU type that Ray knows, such as `H100`."""
    placement: Placement = Placement()
    replicas: Replicas = Replicas()
    env: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables of the engine's processes."""

    @property
    def context_tokens(self) -> int | None:
        """Maximum tokens of prompt and answer together; None if the model's own limit applies."""
        max_len = self.engine.get("max_model_len")
        return max_len if isinstance(max_len, int) and max_len > 0 else None

    @property
    def reuses_prefixes(self) -> bool:
        """Whether a prompt can rely on the cached prefix of an earlier one: prefix caching is on, and there is one
        replica only."""
        return self.replicas.max == 1 and bool(self.engine.get("enable_prefix_caching", True))


class TimeoutsConfig(StrictModel):
    """Time limits of the stages of a call."""

    connect_s: Seconds = 5.0
    """For connecting."""
    first_token_s: Seconds = 30.0
    """Until the first token of a stream."""
    idle_s: Seconds = 20.0
    """Between two tokens of a stream."""
    total_s: Seconds = 120.0
    """For the whole call."""


class RetriesConfig(StrictModel):
    """Retries of failed calls."""

    attempts: Annotated[int, Field(ge=1, le=10)] = RetrySettings().attempts
    """Maximum number of calls until one succeeds, the first one included."""
    max_backoff_s: Seconds = RetrySettings().max_backoff_s
    """Maximum wait before a retry."""


class BreakerConfig(StrictModel):
    """The circuit breaker of a member."""

    failures: Annotated[int, Field(ge=1)] = BreakerSettings().failures
    """Failures within the window that open it, if they are at least half of the calls."""
    window_s: Seconds = BreakerSettings().window_s
    """Length of the window."""
    cooldown_s: Seconds = BreakerSettings().cooldown_s
    """Time that an open breaker refuses calls before it lets one through as a test."""


class LimitsConfig(StrictModel):
    """Limits of a backend, for all of its members together. None stands for no limit."""

    concurrency: Annotated[int, Field(ge=1)] | None = None
    """Concurrent calls."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Calls begun in any 60 seconds."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Tokens used in any 60 seconds."""
    max_queued: Annotated[int, Field(ge=0)] = LimitSettings().max_queued
    """Calls that may wait for a slot; further ones are refused."""


class RemoteBackendConfig(StrictModel):
    """A remote API."""

    kind: Literal["remote"]
    api: Api = "openai"
    """Wire format."""
    base_url: str
    """Address of the API, up to its version, without credentials or a query."""
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    """Environment variable that holds the API key."""
    api_key_file: Annotated[str, Field(min_length=1)] | None = None
    """File that holds the API key; an alternative to `api_key_env`."""
    allow_http: bool = False
    """Permits `http` off the loopback range. Keys and prompts are then sent unencrypted."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: RetriesConfig = RetriesConfig()
    breaker: BreakerConfig = BreakerConfig()
    limits: LimitsConfig = LimitsConfig()
    replicas: RemoteReplicas = RemoteReplicas()

    @property
    def truncates_silently(self) -> bool:
        """Whether the API truncates a prompt that is too long, without reporting it."""
        return self.api == "openai" and dialect_of(self.base_url).truncates_silently

    def remote_backend(self) -> RemoteBackend:
        """Returns the settings with which a replica connects. They name the key and do not contain it."""
        key = None
        if self.api_key_env is not None or self.api_key_file is not None:
            key = Secret(self.api_key_env, self.api_key_file)
        return RemoteBackend(
            self.base_url,
            key,
            Timeouts(**self.timeouts.model_dump()),
            max_connections=self.replicas.max_ongoing,  # one per call, so that no call waits for a connection
            api=self.api,
        )

    @model_validator(mode="after")
    def _reachable_safely(self) -> RemoteBackendConfig:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url must be an http or https URL with a host, not {self.base_url!r}")
        _ = url.port  # raises ValueError for an invalid port
        if url.username or url.query or url.fragment:
            raise ValueError("base_url must contain neither credentials nor a query: put the key into api_key_env")
        if url.scheme == "http" and not (self.allow_http or is_loopback(url.hostname)):
            raise ValueError("base_url must be https off the loopback range, unless allow_http is true")
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("give api_key_env or api_key_file, not both")
        return self


BackendConfig = Annotated[VllmBackendConfig | RemoteBackendConfig, Field(discriminator="kind")]
