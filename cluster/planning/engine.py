"""Plans one vLLM backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.config.backends import VllmBackendConfig
from cluster.planning.alternatives import alternatives
from cluster.planning.gpus import GPUS, Gpu
from cluster.planning.memory import EngineMemory, Sharding, memory_on_cpu, memory_on_gpu, sharding_error
from cluster.planning.model_shape import ModelShape, ModelUnknown, shape_of
from cluster.planning.results import DeploymentPlan, EnginePlan, Hardware, Refusal, ReplicaNeeds
from cluster.planning.throughput import speed
from cluster.planning.workload import Load, MemberCall

TARGET_UTILIZATION = 0.7
"""The share of time that a replica is planned to be busy. Above it, queues become long."""


# Allowances: each shard is a process with CUDA's libraries and pinned buffers; replica and engine are two more.
_SHARD_HOST_GIB = 6.0


_REPLICA_HOST_GIB = 4.0


FindConfig = Callable[[str], Mapping[str, Any]]
"""Returns the `config.json` of a model, or raises `ModelUnknown`."""


class Refused(Exception):
    """The backend cannot run as configured."""

    def __init__(self, where: str, reason: str, alternatives: Iterable[str] = ()) -> None:
        self.refusal = Refusal(where, reason, tuple(alternatives))
        super().__init__(self.refusal)


@dataclass(frozen=True, slots=True)
class EnginePlanner:
    """Plans one vLLM backend for the calls that reach it."""

    name: str
    backend: VllmBackendConfig
    calls: list[MemberCall]
    """Calls of one fused request to this backend's members; empty without a load."""
    load: Load | None
    hardware: Hardware
    find: FindConfig

    @property
    def where(self) -> str:
        """Path of the backend in the configuration."""
        return f"backends.{self.name}"

    @property
    def gpu(self) -> Gpu | None:
        """The GPU type; None on CPUs.

        Raises:
            Refused: the type is unknown.
        """
        wanted = self.backend.accelerator
        if wanted == "cpu":
            return None
        kind = (self.hardware.gpu or "") if wanted == "gpu" else wanted
        known = GPUS.get(kind)
        memory = self.hardware.gpu_memory_gib
        if known is None:
            reason = (
                "the type of the GPU is not specified"
                if wanted == "gpu" and not kind
                else f"the GPU type {kind} is not known"
            )
            raise Refused(f"{self.where}.accelerator", f"{reason}; known are {', '.join(GPUS)}")
        per_node = self.hardware.gpus_per_node or known.gpus_per_node
        return Gpu(
            known.name, memory or known.memory_gib, known.bandwidth_gb_s, known.bf16_tflops, known.fp8_tflops, per_node
        )

    def plan(self) -> EnginePlan:
        """Plans the engine.

        Raises:
            Refused: it does not fit, or its model is unknown.
        """
        gpu, engine = self.gpu, self.backend.engine
        try:
            shape = shape_of(self.find(self.backend.model), engine)
        except ModelUnknown as error:
            raise Refused(f"{self.where}.model", str(error)) from None
        sharding = Sharding.of(engine)
        longest = max((call.input_tokens + call.output_tokens for call in self.calls), default=shape.max_len)
        if longest > shape.max_len:
            reason = f"the load's longest call has {longest} tokens, and the engine accepts {shape.max_len}"
            raise Refused(f"{self.where}.engine.max_model_len", reason, [f"max_model_len: {longest}"])
        if reason := sharding_error(shape, sharding):
            raise Refused(f"{self.where}.engine", reason, alternatives(shape, engine, gpu) if gpu else ())
        if gpu is None:
            memory = memory_on_cpu(shape, engine, self.backend.env)
        else:
            self._check_nodes(sharding, gpu)
            memory = memory_on_gpu(shape, engine, gpu)
        if memory.longest < shape.max_len:
            raise Refused(self.where, _too_little(memory, shape, gpu), alternatives(shape, engine, gpu) if gpu else ())
        sequences = min(memory.sequences(longest), memory.max_batch)
        if gpu is None or not self.calls:
            return EnginePlan(self.name, self.backend.model, shape, sharding, memory, longest, sequences)
        batch = min(sequences, self.backend.replicas.target_ongoing)
        context = sum(call.times * (call.input_tokens + call.output_tokens / 2) for call in self.calls)
        estimate = speed(shape, sharding, gpu, memory, batch, context / sum(call.times for call in self.calls))
        busy_s = sum(call.times * estimate.busy_s(call.input_tokens, call.output_tokens) for call in self.calls)
        return EnginePlan(
            self.name,
            self.backend.model,
            shape,
            sharding,
            memory,
            longest,
            sequences,
            estimate,
            TARGET_UTILIZATION / busy_s,
        )

    def _check_nodes(self, sharding: Sharding, gpu: Gpu) -> None:
        if self.backend.placement.strategy == "STRICT_PACK" and sharding.shards > gpu.gpus_per_node:
            reason = f"STRICT_PACK needs {sharding.shards} GPUs in one node, and a node has {gpu.gpus_per_node}"
            wanted = [f"tensor_parallel_size: {gpu.gpus_per_node}, pipeline_parallel_size: 1", "strategy: PACK"]
            raise Refused(f"{self.where}.placement.strategy", reason, wanted)

    def deployment(self, planned: EnginePlan) -> DeploymentPlan:
        """Plans the deployment of the engine: the replicas that the load needs, their nodes and their price."""
        gpu, shards = self.gpu, planned.sharding.shards
        replicas = self.backend.replicas
        needed = replicas.min
        if self.load and planned.requests_per_s:
            needed = max(needed, math.ceil(self.load.rps / planned.requests_per_s - 1e-9))
        spread = self.backend.placement.strategy == "STRICT_SPREAD"
        if gpu is None:
            memory_gib = shards * planned.memory.budget_gib + 1
            needs = ReplicaNeeds(cpus=shards, memory_gib=memory_gib, nodes=shards if spread else 1)
            return DeploymentPlan(f"vllm:{self.name}", needs, replicas.min, replicas.max, needed, needs.nodes)
        needs = ReplicaNeeds(
            gpus=shards,
            gpu=gpu.name,
            gpu_memory_gib=gpu.memory_gib,
            cpus=shards + 2,
            memory_gib=_REPLICA_HOST_GIB + shards * _SHARD_HOST_GIB,
            nodes=shards if spread else math.ceil(shards / gpu.gpus_per_node),
        )
        prices = self.hardware.gpu_hour_usd
        price = prices.get(gpu.name, prices.get(""))
        return DeploymentPlan(
            f"vllm:{self.name}",
            needs,
            replicas.min,
            replicas.max,
            needed,
            _nodes(needed, shards, needs.nodes, gpu.gpus_per_node),
            None if price is None else needed * shards * price,
        )

    def overload(self, deployment: DeploymentPlan, planned: EnginePlan) -> list[Refusal]:
        """Returns a refusal if the load needs more replicas than `replicas.max`."""
        most = deployment.max_replicas
        if deployment.replicas <= most or not planned.requests_per_s:
            return []
        served = most * planned.requests_per_s
        reason = (
            f"{self.load.rps if self.load else 0:g} fused requests per second need {deployment.replicas} "
            f"replicas, and replicas.max is {most}, which serve about {served:.2g}"
        )
        return [Refusal(f"{self.where}.replicas.max", reason, (f"max: {deployment.replicas}", f"--rps {served:.2g}"))]

    def notes(self, planned: EnginePlan) -> list[str]:
        """Returns what the numbers alone do not show."""
        found: list[str] = []
        gpu, sharding, wanted = self.gpu, planned.sharding, self.backend.replicas.target_ongoing
        if wanted > planned.sequences:
            found.append(
                f"{self.where}.replicas.target_ongoing is {wanted}, and {planned.sequences} sequences of "
                f"{planned.sequence_tokens} tokens fit at once: further calls wait in the engine"
            )
        if gpu and sharding.tensor > gpu.gpus_per_node:
            found.append(
                f"{self.where}: tensor_parallel_size {sharding.tensor} spans nodes of {gpu.gpus_per_node} GPUs, "
                "so that every layer waits for the network; the estimate does not include that"
            )
        if self.backend.accelerator == "A100":
            found.append(f"{self.where}: Ray calls cards with 40 and with 80 GB A100; the plan assumes 40")
        return found


def _too_little(memory: EngineMemory, shape: ModelShape, gpu: Gpu | None) -> str:
    needed = memory.weights_gib + memory.activations_gib + memory.runtime_gib
    where = "a shard" if gpu is None else f"a {gpu.name}"
    if needed >= memory.budget_gib:
        return (
            f"the weights do not fit: {where} has {memory.budget_gib:.1f} GiB available, and {memory.weights_gib:.1f} "
            f"GiB of weights with {memory.activations_gib + memory.runtime_gib:.1f} GiB for computing need {needed:.1f}"
        )
    return (
        f"no sequence of max_model_len {shape.max_len} fits: {memory.kv_cache_gib:.1f} GiB are left for the KV cache, "
        f"which hold {memory.longest} tokens"
    )


def _nodes(replicas: int, shards: int, nodes_each: int, gpus_per_node: int) -> int:
    """Returns the nodes of all replicas; several share a node where they fit."""
    if nodes_each > 1:
        return replicas * nodes_each
    return math.ceil(replicas / max(1, gpus_per_node // shards))
