"""What an engine keeps in the memory of one GPU, counted as vLLM counts it.

vLLM takes `gpu_memory_utilization` of the whole card, loads the weights, measures what a forward pass at full batch
needs besides (`Worker.determine_available_memory`), and cuts the rest into blocks of `block_size` tokens
(`kv_cache_utils`). Weights and blocks follow from the model's shape. What it measures is estimated here.
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
"""CUDA's context, NCCL's buffers and CUDA graphs: an allowance, for they depend on the driver and the machine."""


_CPU_RUNTIME_GIB = 1.5


_LARGE_CARD_GIB = 70


_HUGE_CARD_GIB = 160


@dataclass(frozen=True, slots=True)
class Sharding:
    """How an engine is cut: each layer into `tensor` parts, the layers into `pipeline` stages."""

    tensor: int = 1
    pipeline: int = 1
    expert: bool = False

    @property
    def shards(self) -> int:
        return self.tensor * self.pipeline

    @classmethod
    def of(cls, engine: Mapping[str, Any]) -> Sharding:
        """What vLLM's engine arguments say."""
        return cls(
            int(engine.get("tensor_parallel_size", 1)),
            int(engine.get("pipeline_parallel_size", 1)),
            bool(engine.get("enable_expert_parallel", False)),
        )


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """The memory of the shard that has the most to hold, in GiB, and what comes of it.

    `budget_gib` is what vLLM takes of the card, or of the machine. `blocks` are whole ones; one is never given out.
    `max_batch` is the number of sequences that vLLM computes at once at most.
    """

    budget_gib: float
    weights_gib: float
    activations_gib: float
    runtime_gib: float
    kv_cache_gib: float
    kv_bytes_per_token: float
    blocks: int
    block_size: int
    max_batch: int

    def sequences(self, tokens: int) -> int:
        """How many sequences of so many tokens fit at once."""
        return max(0, self.blocks - 1) // max(1, math.ceil(tokens / self.block_size))

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that fits."""
        return max(0, self.blocks - 1) * self.block_size


def misfit(shape: ModelShape, sharding: Sharding) -> str | None:
    """Why a model cannot be cut so, or None when it can. The rules are those of vLLM's layers."""
    tensor, pipeline = sharding.tensor, sharding.pipeline
    if shape.heads % tensor:
        return f"{shape.heads} attention heads cannot be shared by tensor_parallel_size {tensor}"
    if max(shape.kv_heads, tensor) % min(shape.kv_heads, tensor):
        return f"{shape.kv_heads} key-value heads cannot be shared by tensor_parallel_size {tensor}"
    if not sharding.expert and shape.intermediate % tensor:
        return f"an intermediate size of {shape.intermediate} cannot be shared by tensor_parallel_size {tensor}"
    if pipeline > shape.layers:
        return f"{shape.layers} layers cannot be shared by pipeline_parallel_size {pipeline}"
    return None


def weight_bytes(shape: ModelShape, sharding: Sharding) -> float:
    """Weights of the heaviest shard. Norms and routers are in each; key-value heads too, where there are too few."""
    tensor, stages = sharding.tensor, sharding.pipeline
    queries = 2 * shape.hidden * shape.head_dim * shape.heads / tensor
    keys = 2 * shape.hidden * shape.head_dim * max(1, shape.kv_heads // tensor)
    experts = math.ceil(shape.experts / tensor) if sharding.expert else shape.experts / tensor
    linear = (queries + keys + experts * shape.expert_weights) * shape.linear_bytes
    whole = (shape.router_weights + shape.small_weights) * shape.dtype_bytes
    ends = shape.embedding_weights / tensor * shape.dtype_bytes
    # The first stage has the embedding and the last the output; a model in one piece has both, or one that is tied.
    ends *= 1 if stages > 1 or shape.tied else 2
    return math.ceil(shape.layers / stages) * (linear + whole) + ends


def kv_bytes_per_token(shape: ModelShape, sharding: Sharding, engine: Mapping[str, Any]) -> float:
    """What one shard keeps of a token: keys and values of its heads, in its layers."""
    dtype = str(engine.get("kv_cache_dtype", "auto"))
    size = 1.0 if dtype.startswith("fp8") else shape.dtype_bytes
    heads = max(1, shape.kv_heads // sharding.tensor)
    return 2 * math.ceil(shape.layers / sharding.pipeline) * heads * shape.head_dim * size


def activation_bytes(shape: ModelShape, sharding: Sharding, batched_tokens: int, max_batch: int) -> float:
    """What a forward pass at full batch holds at its peak, roughly: the hidden states and the largest layer's
    intermediate ones for every token, and the logits of every sequence, in 32 bits and in three copies."""
    projections = (shape.heads + 2 * shape.kv_heads) * shape.head_dim / sharding.tensor
    widened = shape.experts_per_token * (3 * shape.intermediate / sharding.tensor + shape.hidden)
    per_token = (4 * shape.hidden + projections + widened) * shape.dtype_bytes
    return batched_tokens * per_token + 3 * 4 * max_batch * shape.vocabulary


def on_gpu(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> EngineMemory:
    """The memory of an engine's heaviest shard on such a card. `blocks` is 0 when the weights leave no room."""
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


def on_cpu(shape: ModelShape, engine: Mapping[str, Any], env: Mapping[str, str]) -> EngineMemory:
    """The memory of an engine's heaviest shard on a CPU. `VLLM_CPU_KVCACHE_SPACE` is what it keeps for sequences,
    in GiB; without it vLLM takes the machine's memory by `gpu_memory_utilization`, and nothing is known ahead but that
    one sequence of full length has to fit."""
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
    """Tokens and sequences of a batch at most: vLLM's defaults for a server (`EngineArgs.get_batch_defaults`)."""
    if gpu.memory_gib >= _HUGE_CARD_GIB:
        return 16384, 1024
    if gpu.memory_gib >= _LARGE_CARD_GIB and not gpu.name.startswith("A100"):
        return 8192, 1024
    return 2048, 256
