"""The results of planning, and the hardware that it assumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.planning.memory import EngineMemory, Sharding
from cluster.planning.model_shape import ModelShape
from cluster.planning.throughput import Speed

IO_BOUND_GIB = 0.5
"""Host memory of a replica that only waits for others."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware, where the configuration does not specify it."""

    gpu: str | None = None
    """GPU type of backends with `accelerator: gpu`."""
    gpus_per_node: int | None = None
    """None stands for what is usual for the type."""
    gpu_memory_gib: float | None = None
    """None stands for the memory of the type."""
    gpu_hour_usd: Mapping[str, float] = field(default_factory=dict[str, float])
    """Price of a GPU-hour by GPU type; the one under the empty name is for every other type."""


@dataclass(frozen=True, slots=True)
class ReplicaNeeds:
    """The resources of one replica."""

    cpus: float
    """Cores that Ray reserves."""
    gpus: int = 0
    gpu: str | None = None
    """GPU type; None without GPUs."""
    gpu_memory_gib: float | None = None
    """Memory of one GPU; None without GPUs."""
    memory_gib: float = IO_BOUND_GIB
    """Host memory."""
    nodes: int = 1
    """Nodes that the replica spans."""


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The plan of one Serve deployment."""

    name: str
    replica: ReplicaNeeds
    min_replicas: int
    max_replicas: int
    replicas: int
    """Replicas that the load needs, at least `min_replicas`."""
    nodes: int = 0
    """Nodes that hold the replicas if nothing else runs on them."""
    usd_per_hour: float | None = None
    """None if the price is unknown, or if nothing is paid by the hour."""

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.replica.gpus


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """The plan of one engine."""

    backend: str
    model: str
    shape: ModelShape
    sharding: Sharding
    memory: EngineMemory
    sequence_tokens: int
    """Tokens of the longest call of the load; without a load, of the longest sequence that the engine accepts."""
    sequences: int
    """Sequences of `sequence_tokens` that fit at once."""
    speed: Speed | None = None
    """None on CPUs, and without a load."""
    requests_per_s: float | None = None
    """Fused requests per second that one replica serves; None like `speed`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason why the configuration cannot run as planned."""

    where: str
    """Path of the configuration's key."""
    reason: str
    nearest: tuple[str, ...] = ()
    """Changes that would fit, the nearest first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a configuration."""

    deployments: tuple[DeploymentPlan, ...]
    engines: tuple[EnginePlan, ...]
    refusals: tuple[Refusal, ...]
    """Empty if everything fits."""
    notes: tuple[str, ...]
    request_usd: float | None = None
    """What remote members charge for one fused request; None without a load, or if a price is unknown."""

    @property
    def usd_per_hour(self) -> float | None:
        """The price of all GPUs per hour; None if one is unknown."""
        prices = [deployment.usd_per_hour for deployment in self.deployments if deployment.gpus]
        return None if None in prices else sum(price for price in prices if price is not None)
