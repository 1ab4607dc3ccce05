"""Computes the memory of one shard of an engine with vLLM's rules.

vLLM takes `gpu_memory_utilization` of the card, loads the weights, measures the peak of a forward pass at full batch
(`Worker.determine_available_memory`), and divides the rest into KV cache blocks of `block_size` tokens
(`kv_cache_utils`). Weights and blocks follow from the model's shape; the measured peak is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.planning.gpus import Gpu
from cluster.planning.model_shape import ModelShape

GIB = 1024**3


RUNTIME_GIB = 2.0
"""Allowance for CUDA's context, NCCL's buffers and CUDA graphs, which depend on the driver and the machine."""


_CPU_RUNTIME_GIB = 1.5


_LARGE_CARD_GIB = 70


_HUGE_CARD_GIB = 160


@dataclass(frozen=True, slots=True)
class Sharding:
    """How an engine is divided among workers."""

    tensor: int = 1
    """Parts of each layer."""
    pipeline: int = 1
    """Stages of layers."""
    expert: bool = False
    """Whether whole experts are distributed, instead of parts of each."""

    @property
    def shards(self) -> int:
        """The number of workers."""
        return self.tensor * self.pipeline

    @classmethod
    def of(cls, engine: Mapping[str, Any]) -> Sharding:
        """Reads vLLM's engine arguments."""
        return cls(
            int(engine.get("tensor_parallel_size", 1)),
            int(engine.get("pipeline_parallel_size", 1)),
            bool(engine.get("enable_expert_parallel", False)),
        )


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """The memory of the shard with the most weights."""

    budget_gib: float
    """What vLLM uses of the card, or of the machine."""
    weights_gib: float
    activations_gib: float
    """Estimated peak of a forward pass at full batch."""
    runtime_gib: float
    """Allowance for libraries and CUDA graphs."""
    kv_cache_gib: float
    kv_bytes_per_token: float
    blocks: int
    """KV cache blocks. vLLM keeps one for itself."""
    block_size: int
    """Tokens of a block."""
    max_batch: int
    """Sequences that vLLM runs at once at most."""

    def sequences(self, tokens: int) -> int:
        """Returns how many sequences of `tokens` tokens fit at once."""
        return max(0, self.blocks - 1) // max(1, math.ceil(tokens / self.block_size))

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that fits."""
        return max(0, self.blocks - 1) * self.block_size


def sharding_error(shape: ModelShape, sharding: Sharding) -> str | None:
    """Returns why vLLM's layers cannot be divided this way, None if they can."""
    tensor, pipeline = sharding.tensor, sharding.pipeline
    if shape.heads % tensor:
        return f"{shape.heads} attention heads cannot be divided by tensor_parallel_size {tensor}"
    if max(shape.kv_heads, tensor) % min(shape.kv_heads, tensor):
        return f"{shape.kv_heads} key-value heads cannot be divided by tensor_parallel_size {tensor}"
    if not sharding.expert and shape.intermediate % tensor:
        return f"an intermediate size of {shape.intermediate} cannot be divided by tensor_parallel_size {tensor}"
    if pipeline > shape.layers:
        return f"{shape.layers} layers cannot be divided by pipeline_parallel_size {pipeline}"
    return None


def weight_bytes(shape: ModelShape, sharding: Sharding) -> float:
    """Returns the bytes of weights of the largest shard. Norms and routers are replicated in every shard, and so are
    key-value heads where there are fewer than shards."""
    tensor, stages = sharding.tensor, sharding.pipeline
    queries = 2 * shape.hidden * shape.head_dim * shape.heads / tensor
    keys = 2 * shape.hidden * shape.head_dim * max(1, shape.kv_heads // tensor)
    experts = math.ceil(shape.experts / tensor) if sharding.expert else shape.experts / tensor
    linear = (queries + keys + experts * shape.expert_weights) * shape.linear_bytes
    replicated = (shape.router_weights + shape.small_weights) * shape.dtype_bytes
    embeddings = shape.embedding_weights / tensor * shape.dtype_bytes
    # The first stage has the input embedding and the last the output one. A single stage has both unless they are tied.
    embeddings *= 1 if stages > 1 or shape.tied else 2
    return math.ceil(shape.layers / stages) * (linear + replicated) + embeddings


def kv_bytes_per_token(shape: ModelShape, sharding: Sharding, engine: Mapping[str, Any]) -> float:
    """Returns the bytes that one shard stores per token: keys and values of its heads and layers."""
    dtype = str(engine.get("kv_cache_dtype", "auto"))
    size = 1.0 if dtype.startswith("fp8") else shape.dtype_bytes
    heads = max(1, shape.kv_heads // sharding.tensor)
    return 2 * math.ceil(shape.layers / sharding.pipeline) * heads * shape.head_dim * size


def activation_bytes(shape: ModelShape, sharding: Sharding, batched_tokens: int, max_batch: int) -> float:
    """Estimates the peak of a forward pass at full batch: hidden and intermediate states of one layer for every token,
    and three copies of 32-bit logits for every sequence."""
    projections = (shape.heads + 2 * shape.kv_heads) * shape.head_dim / sharding.tensor
    widened = shape.experts_per_token * (3 * shape.intermediate / sharding.tensor + shape.hidden)
    per_token = (4 * shape.hidden + projections + widened) * shape.dtype_bytes
    return batched_tokens * per_token + 3 * 4 * max_batch * shape.vocabulary


def memory_on_gpu(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> EngineMemory:
    """Returns the memory of an engine's largest shard on a GPU. `blocks` is 0 if the weights leave no room."""
    sharding = Sharding.of(engine)
    budget = gpu.memory_gib * float(engine.get("gpu_memory_utilization", 0.92))
    batched, batch = _batch_defaults(gpu)
    max_batch = int(engine.get("max_num_seqs") or batch)
    batched = int(engine.get("max_num_batched_tokens") or batched)
    activations = activation_bytes(shape, sharding, batched, max_batch)
    weights = weight_bytes(shape, sharding)
    room = budget * GIB - weights - activations - RUNTIME_GIB * GIB
    if engine.get("kv_cache_memory_bytes"):
        room = float(engine["kv_cache_memory_bytes"])
    return _memory(shape, engine, budget, weights, activations, RUNTIME_GIB, room, max_batch, block_size=16)


def memory_on_cpu(shape: ModelShape, engine: Mapping[str, Any], env: Mapping[str, str]) -> EngineMemory:
    """Returns the memory of an engine's largest shard on a CPU.

    `VLLM_CPU_KVCACHE_SPACE` in `env` is the size of the KV cache in GiB. Without it vLLM takes a share of the machine's
    memory, which is not known here, and the result has room for one sequence of full length.
    """
    sharding = Sharding.of(engine)
    max_batch = int(engine.get("max_num_seqs") or 256)
    batched = int(engine.get("max_num_batched_tokens") or 2048)
    activations = activation_bytes(shape, sharding, batched, max_batch)
    weights = weight_bytes(shape, sharding)
    per_token = kv_bytes_per_token(shape, sharding, engine)
    space = env.get("VLLM_CPU_KVCACHE_SPACE")
    room = float(space) * GIB if space else per_token * (shape.max_len + 2 * 128)
    budget = (weights + activations + room) / GIB + _CPU_RUNTIME_GIB
    return _memory(shape, engine, budget, weights, activations, _CPU_RUNTIME_GIB, room, max_batch, block_size=128)


def _memory(
    shape: ModelShape,
    engine: Mapping[str, Any],
    budget_gib: float,
    weights: float,
    activations: float,
    runtime_gib: float,
    room: float,
    max_batch: int,
    *,
    block_size: int,
) -> EngineMemory:
    size = int(engine.get("block_size") or block_size)
    per_token = kv_bytes_per_token(shape, Sharding.of(engine), engine)
    return EngineMemory(
        budget_gib=budget_gib,
        weights_gib=weights / GIB,
        activations_gib=activations / GIB,
        runtime_gib=runtime_gib,
        kv_cache_gib=max(0.0, room) / GIB,
        kv_bytes_per_token=per_token,
        blocks=max(0, int(room // (per_token * size))),
        block_size=size,
        max_batch=max_batch,
    )


def _batch_defaults(gpu: Gpu) -> tuple[int, int]:
    """Returns the maximum tokens and sequences of a batch: vLLM's defaults (`EngineArgs.get_batch_defaults`)."""
    if gpu.memory_gib >= _HUGE_CARD_GIB:
        return 16384, 1024
    if gpu.memory_gib >= _LARGE_CARD_GIB and not gpu.name.startswith("A100"):
        return 8192, 1024
    return 2048, 256
