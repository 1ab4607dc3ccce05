"""What a cluster is made of, as frozen models: backends, members, presets, server, judge.

`cluster.config.loader.load` reads them from a YAML file; docs/configuration.md explains every key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from cluster.config.backends import IO_BOUND_CPUS, BackendConfig, RemoteBackendConfig, VllmBackendConfig
from cluster.config.base import StrictModel, is_loopback
from cluster.config.monitoring import ObservabilityConfig
from cluster.config.presets import PresetConfig
from cluster.config.telemetry import TracesConfig, TracingConfig, provider_of
from deployments.api.models import OPENROUTER_FUSION
from deployments.api.openrouter import MAX_PANEL
from deployments.observability.tracing.settings import TracingSettings
from deployments.resilience.targets import Backup
from fusion.chat import Effort, Reasoning, Sampling
from fusion.member import MemberProfile
from fusion.presets import Preset
from fusion.pricing import Price

DEFAULT_PRESET = "fusion/merge"


Location = tuple[str | int, ...]


Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]


Setting = Literal[
    "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty", "reasoning"
]


class PriceConfig(StrictModel):
    """US dollars per million tokens."""

    input_per_mtok: Annotated[float, Field(ge=0)]
    output_per_mtok: Annotated[float, Field(ge=0)]


class ReasoningConfig(StrictModel):
    """How much a member thinks before it answers: an effort, or a number of tokens."""

    effort: Effort | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ReasoningConfig:
        if (self.effort is None) == (self.max_tokens is None):
            raise ValueError("give either effort or max_tokens")
        return self


class MemberConfig(StrictModel):
    """A named voice: a backend plus model, sampling and an optional system prompt; and who is asked besides it."""

    backend: str
    model: Annotated[str, Field(min_length=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    reasoning: ReasoningConfig | None = None
    system: str | None = None
    omits: Annotated[frozenset[Setting], Field(strict=False)] = frozenset()
    price: PriceConfig | None = None
    family: Annotated[str, Field(min_length=1)] | None = None
    images: bool = True
    context_tokens: Annotated[int, Field(ge=1)] | None = None
    fallbacks: Annotated[tuple[str, ...], Field(max_length=MAX_PANEL, strict=False)] = ()
    hedge: str | Literal[False] | None = None

    @field_serializer("omits")
    def _in_order(self, value: frozenset[Setting]) -> list[Setting]:
        return sorted(value)

    @field_validator("hedge", mode="before")
    @classmethod
    def _name_or_false(cls, value: object) -> object:
        if value is True:
            raise ValueError("give a member's name, or false")
        return value

    def sampling(self) -> Sampling:
        """The member's own sampling."""
        settings = {name: getattr(self, name) for name in Sampling.__slots__}
        if self.reasoning is not None:
            settings["reasoning"] = Reasoning(self.reasoning.effort, self.reasoning.max_tokens)
        return Sampling(**settings)


class ServerConfig(StrictModel):
    """Where the HTTP API listens, and who may use it."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    api_keys_env: Annotated[str, Field(min_length=1)] | None = None
    max_body_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024


class JudgeReplicas(StrictModel):
    """How many replicas the judge deployment has, and how much of a core Ray sets aside for each."""

    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] = 1
    num_cpus: Annotated[float, Field(gt=0)] = IO_BOUND_CPUS


class JudgeConfig(StrictModel):
    """The judge deployment: its replicas, and how many requests each takes and how many wait."""

    replicas: JudgeReplicas = JudgeReplicas()
    target_queue_depth: Annotated[int, Field(ge=1)] = 4
    max_ongoing: Annotated[int, Field(ge=1)] = 256
    max_queued: Annotated[int, Field(ge=1)] = 512

    @model_validator(mode="after")
    def _in_order(self) -> JudgeConfig:
        if self.replicas.max < self.replicas.min:
            raise ValueError(f"replicas.max ({self.replicas.max}) must not be below min ({self.replicas.min})")
        return self


class ClusterConfig(StrictModel):
    """A whole cluster."""

    backends: Annotated[dict[Name, BackendConfig], Field(min_length=1)]
    members: Annotated[dict[Name, MemberConfig], Field(min_length=1)]
    presets: Annotated[dict[Name, PresetConfig], Field(min_length=1)]
    server: ServerConfig = ServerConfig()
    judge: JudgeConfig = JudgeConfig()
    traces: TracesConfig | None = None
    observability: ObservabilityConfig = ObservabilityConfig()
    tracing: TracingConfig | None = None

    @property
    def fingerprint(self) -> str:
        """The same for every file that says the same, and another for every other."""
        content = json.dumps(self.model_dump(), sort_keys=True, default=sorted)  # sets alone are not JSON
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def default_preset(self) -> str:
        """The preset that stands for fusion as such."""
        return DEFAULT_PRESET if DEFAULT_PRESET in self.presets else next(iter(self.presets))

    def profiles(self) -> dict[str, MemberProfile]:
        """Every member as the core knows it."""
        return {name: self._profile(name, member) for name, member in self.members.items()}

    def fusion_presets(self) -> dict[str, Preset]:
        """Every preset as the core knows it."""
        return {name: preset.preset(name) for name, preset in self.presets.items()}

    def tracing_settings(self) -> TracingSettings | None:
        """Where replicas send their spans, None when they make none."""
        if self.tracing is None:
            return None
        return self.tracing.settings(
            {
                name: provider_of(backend.api, backend.base_url) if isinstance(backend, RemoteBackendConfig) else "vllm"
                for name, backend in self.backends.items()
            }
        )

    def backups(self) -> dict[str, Backup]:
        """Who is asked besides each member, for those that have anyone."""
        backups = {name: Backup(self._second(name, member), member.fallbacks) for name, member in self.members.items()}
        return {name: backup for name, backup in backups.items() if backup != Backup()}

    def cross_field_errors(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together: the place in the file and what is wrong there."""
        for name, member in self.members.items():
            backend = self.backends.get(member.backend)
            if backend is None:
                yield ("members", name, "backend"), _unknown("backend", member.backend, self.backends)
            elif isinstance(backend, RemoteBackendConfig) and member.model is None:
                yield ("members", name), "a member of a remote backend needs a model"
            elif isinstance(backend, VllmBackendConfig) and member.context_tokens is not None:
                yield ("members", name, "context_tokens"), "an engine of our own has its backend's engine.max_model_len"
            elif isinstance(backend, VllmBackendConfig) and member.omits:
                yield ("members", name, "omits"), "an engine of our own takes every setting"
            elif isinstance(backend, VllmBackendConfig) and member.model not in (None, backend.model):
                yield ("members", name, "model"), f"its backend serves {backend.model!r}; leave the model out"
            yield from self._unsuitable_backups(name, member)
        for name, preset in self.presets.items():
            if name in self.members:
                yield ("presets", name), "a preset and a member must not share a name: both are model ids"
            yield from self._unknown_members(("presets", name, "panel"), preset.panel)
            yield from self._unknown_members(("presets", name, "judge"), preset.judges)
        for kind, names in (("members", self.members), ("presets", self.presets)):
            if OPENROUTER_FUSION in names:
                yield (kind, OPENROUTER_FUSION), "this name is taken: it stands for the default preset"
        if not is_loopback(self.server.host) and self.server.api_keys_env is None:
            yield (
                ("server", "host"),
                f"{self.server.host} can be reached from other machines: set server.api_keys_env, or use 127.0.0.1",
            )

    def _unsuitable_backups(self, name: str, member: MemberConfig) -> Iterator[tuple[Location, str]]:
        yield from self._unknown_members(("members", name, "fallbacks"), member.fallbacks)
        if name in member.fallbacks:
            location = ("members", name, "fallbacks", member.fallbacks.index(name))
            yield location, "a member cannot stand in for itself"
        if isinstance(member.hedge, str):
            second = self.members.get(member.hedge)
            if second is None:
                yield ("members", name, "hedge"), _unknown("member", member.hedge, self.members)
            elif second.backend == member.backend:
                yield (
                    ("members", name, "hedge"),
                    f"{member.hedge!r} is at the same backend: name a member of another one, or leave hedge out and "
                    "set the backend's replicas.max above 1 for a second call to another replica",
                )

    def _second(self, name: str, member: MemberConfig) -> str | None:
        if member.hedge is None:
            return name if self.backends[member.backend].replicas.max > 1 else None
        return member.hedge or None

    def _unknown_members(self, location: Location, members: tuple[str, ...]) -> Iterator[tuple[Location, str]]:
        for index, member in enumerate(members):
            if member not in self.members:
                yield (*location, index), _unknown("member", member, self.members)
            elif member in members[:index]:
                yield (*location, index), f"{member!r} is named twice"

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
            prefills=engine is not None and engine.keeps_what_it_read,
            takes_images=member.images,
            context_tokens=member.context_tokens if engine is None else engine.context_tokens,
            has_tokenizer=engine is not None,
            cuts_prompts=isinstance(backend, RemoteBackendConfig) and backend.cuts_prompts,
        )


def _unknown(kind: str, name: str, known: dict[str, Any]) -> str:
    return f"there is no {kind} {name!r}; known are {', '.join(known)}"
