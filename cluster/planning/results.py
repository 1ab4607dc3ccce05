"""What a plan says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.planning.memory import EngineMemory, Sharding
from cluster.planning.model_shape import ModelShape
from cluster.planning.throughput import Speed

IO_BOUND_GIB = 0.5


@dataclass(frozen=True, slots=True)
class Hardware:
    """What is bought, where the configuration does not say. Prices are US dollars an hour by GPU type; the price under
    an empty name is for every other type."""

    gpu: str | None = None
    gpus_per_node: int | None = None
    gpu_memory_gib: float | None = None
    gpu_hour_usd: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class ReplicaNeeds:
    """What one replica takes: GPUs of a type, cores, host memory, and the nodes that it is spread over."""

    cpus: float
    gpus: int = 0
    gpu: str | None = None
    gpu_memory_gib: float | None = None
    memory_gib: float = IO_BOUND_GIB
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """One Serve deployment. `replicas` are what the load takes, and never fewer than `min_replicas`; `nodes` hold them
    when nothing else is there. Money is None where no price is known, and where there is nothing to pay by the hour."""

    name: str
    replica: ReplicaNeeds
    min_replicas: int
    max_replicas: int
    replicas: int
    nodes: int = 0
    usd_per_hour: float | None = None

    @property
    def gpus(self) -> int:
        return self.replicas * self.replica.gpus


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """An engine in detail. `sequence_tokens` is what `sequences` of them fit at once: the load's longest call, or the
    longest that the engine takes. `speed` is None on CPUs, and without a load."""

    backend: str
    model: str
    shape: ModelShape
    sharding: Sharding
    memory: EngineMemory
    sequence_tokens: int
    sequences: int
    speed: Speed | None = None
    requests_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be, and what is nearest to it that can, the nearest first."""

    where: str
    reason: str
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole configuration. `request_usd` is what the remote members of one fused request charge, None when a price is
    unknown or there is no load."""

    deployments: tuple[DeploymentPlan, ...]
    engines: tuple[EnginePlan, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]
    request_usd: float | None = None

    @property
    def usd_per_hour(self) -> float | None:
        """What the GPUs cost an hour, None when a price is unknown."""
        prices = [deployment.usd_per_hour for deployment in self.deployments if deployment.gpus]
        return None if None in prices else sum(price for price in prices if price is not None)
