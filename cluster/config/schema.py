"""The configuration of a cluster as frozen models.

`cluster.config.loader.load` reads it from a YAML file; docs/configuration.md explains every key.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field, model_validator

from cluster.config.backends import IO_BOUND_CPUS, BackendConfig, RemoteBackendConfig, VllmBackendConfig
from cluster.config.base import StrictModel
from cluster.config.members import MemberConfig
from cluster.config.monitoring import ObservabilityConfig
from cluster.config.presets import PresetConfig
from cluster.config.telemetry import RecordingsConfig, TracingConfig
from deployments.observability.tracing.settings import TracingSettings
from deployments.providers.hosts import provider_of
from deployments.resilience.targets import Targets
from fusion.member import MemberProfile
from fusion.presets import Preset
from fusion.pricing import Price

DEFAULT_PRESET = "fusion/merge"


Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]


class ServerConfig(StrictModel):
    """The HTTP API."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""
    api_keys_env: Annotated[str, Field(min_length=1)] | None = None
    """Environment variable that holds the service's API keys; None leaves the API open on a loopback address."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    """Maximum size of a request's body."""


class JudgeReplicas(StrictModel):
    """The replicas of the judge deployment."""

    min: Annotated[int, Field(ge=1)] = 1
    """Minimum number of replicas."""
    max: Annotated[int, Field(ge=1)] = 1
    """Maximum number of replicas."""
    num_cpus: Annotated[float, Field(gt=0)] = IO_BOUND_CPUS
    """Cores that Ray reserves for each replica."""


class JudgeConfig(StrictModel):
    """The judge deployment, which accepts requests and runs them."""

    replicas: JudgeReplicas = JudgeReplicas()
    target_queue_depth: Annotated[int, Field(ge=1)] = 4
    """Requests per replica, running or queued, that autoscaling aims at."""
    max_ongoing: Annotated[int, Field(ge=1)] = 256
    """Requests that a replica runs at once."""
    max_queued: Annotated[int, Field(ge=1)] = 512
    """Requests that may wait in a replica; further ones are refused."""

    @model_validator(mode="after")
    def _in_order(self) -> JudgeConfig:
        if self.replicas.max < self.replicas.min:
            raise ValueError(f"replicas.max ({self.replicas.max}) must not be below min ({self.replicas.min})")
        return self


class ClusterConfig(StrictModel):
    """The configuration of a cluster."""

    backends: Annotated[dict[Name, BackendConfig], Field(min_length=1)]
    members: Annotated[dict[Name, MemberConfig], Field(min_length=1)]
    presets: Annotated[dict[Name, PresetConfig], Field(min_length=1)]
    server: ServerConfig = ServerConfig()
    judge: JudgeConfig = JudgeConfig()
    recordings: RecordingsConfig | None = None
    observability: ObservabilityConfig = ObservabilityConfig()
    tracing: TracingConfig | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of the configuration: equal for files that say the same, different otherwise."""
        content = json.dumps(self.model_dump(), sort_keys=True, default=sorted)  # for sets
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def default_preset(self) -> str:
        """The preset of requests that name none: `fusion/merge`, or else the first one."""
        return DEFAULT_PRESET if DEFAULT_PRESET in self.presets else next(iter(self.presets))

    def profiles(self) -> dict[str, MemberProfile]:
        """Returns every member as a value of `fusion`, by name."""
        return {name: self._profile(name, member) for name, member in self.members.items()}

    def fusion_presets(self) -> dict[str, Preset]:
        """Returns every preset as a value of `fusion`, by id."""
        return {name: preset.preset(name) for name, preset in self.presets.items()}

    def tracing_settings(self) -> TracingSettings | None:
        """Returns the replicas' tracing settings, None if tracing is off."""
        if self.tracing is None:
            return None
        return self.tracing.settings(
            {
                name: provider_of(backend.api, backend.base_url) if isinstance(backend, RemoteBackendConfig) else "vllm"
                for name, backend in self.backends.items()
            }
        )

    def targets(self) -> dict[str, Targets]:
        """Returns the hedge and the fallbacks of each member that has any."""
        targets = {name: Targets(self._hedge(name, member), member.fallbacks) for name, member in self.members.items()}
        return {name: each for name, each in targets.items() if each != Targets()}

    def _hedge(self, name: str, member: MemberConfig) -> str | None:
        if member.hedge is None:
            return name if self.backends[member.backend].replicas.max > 1 else None
        return member.hedge or None

    def _profile(self, name: str, member: MemberConfig) -> MemberProfile:
        backend = self.backends[member.backend]
        model = member.model or (backend.model if isinstance(backend, VllmBackendConfig) else "")
        price = None if member.price is None else Price(**member.price.model_dump())
        engine = backend if isinstance(backend, VllmBackendConfig) else None
        return MemberProfile(
            name,
            member.backend,
            model,
            member.sampling(),
            member.system,
            price,
            member.family,
            supports_prefill=engine is not None and engine.reuses_prefixes,
            takes_images=member.images,
            context_tokens=member.context_tokens if engine is None else engine.context_tokens,
            has_tokenizer=engine is not None,
            truncates_silently=isinstance(backend, RemoteBackendConfig) and backend.truncates_silently,
        )
