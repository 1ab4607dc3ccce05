"""Estimates the speed of an engine from the bandwidth and arithmetic throughput of its GPUs.

The model is a roofline (Williams et al., CACM 52(4), 2009) in the form of Pope et al. (arXiv 2211.05102): prefill is
bound by arithmetic, 2 operations per active parameter and token; each decoding step is bound by reading the weights and
the KV cache of all sequences. Real engines reach a part of the peak figures. The parts below are assumptions that
have not been validated on GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.gpus import Gpu
from cluster.planning.memory import EngineMemory, Sharding, weight_bytes
from cluster.planning.model_shape import ModelShape

BANDWIDTH_EFFICIENCY = 0.6
"""The assumed share of the peak memory bandwidth."""


COMPUTE_EFFICIENCY = 0.4
"""The assumed share of the peak arithmetic throughput."""


ALL_REDUCE_S = 20e-6
"""The assumed time of one all-reduce over NVLink. Tensor parallelism needs two per layer."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The estimated speed of one replica."""

    batch: int
    """Concurrent sequences."""
    token_s: float
    """Time between two tokens of a sequence."""
    batch_token_s: float
    """Time of the replica per generated token, with a full batch."""
    prompt_token_s: float
    """Time of the replica per prompt token."""

    def busy_s(self, input_tokens: float, output_tokens: float) -> float:
        """Returns the time of the replica that a call uses."""
        return input_tokens * self.prompt_token_s + output_tokens * self.batch_token_s


def speed(
    shape: ModelShape, sharding: Sharding, gpu: Gpu, memory: EngineMemory, batch: int, context_tokens: float
) -> Speed:
    """Estimates the speed with `batch` sequences of `context_tokens` tokens on average.

    Pipeline stages each work on a part of the batch, so that none is idle.
    """
    tflops = gpu.fp8_tflops if shape.linear_bytes == 1.0 and gpu.fp8_tflops else gpu.bf16_tflops
    flops = tflops * 1e12 * COMPUTE_EFFICIENCY
    bandwidth = gpu.bandwidth_gb_s * 1e9 * BANDWIDTH_EFFICIENCY
    stages = sharding.pipeline
    part = max(1.0, batch / stages)
    bytes_read = _weight_bytes_read(shape, sharding, part) + part * context_tokens * memory.kv_bytes_per_token
    operations = 2 * shape.active_parameters * part / sharding.shards
    all_reduce_s = 2 * shape.layers / stages * ALL_REDUCE_S if sharding.tensor > 1 else 0.0
    stage_s = max(bytes_read / bandwidth, operations / flops) + all_reduce_s
    return Speed(
        batch=batch,
        token_s=stages * stage_s,
        batch_token_s=stage_s / part,
        prompt_token_s=2 * shape.active_parameters / sharding.shards / flops,
    )


def _weight_bytes_read(shape: ModelShape, sharding: Sharding, tokens: float) -> float:
    """Returns the bytes of weights that a shard reads for one step of `tokens` tokens: all but the experts to which no
    token is routed."""
    total = weight_bytes(shape, sharding)
    if shape.experts == 1:
        return total
    unused = (1 - shape.experts_per_token / shape.experts) ** tokens
    experts = shape.layers / sharding.pipeline * shape.experts / sharding.tensor * shape.expert_weights
    return total - unused * experts * shape.linear_bytes
