"""How fast an engine may be: an estimate, from what its GPUs can read and compute at best.

A roofline (Williams et al., CACM 52(4), 2009) in the form that Pope et al. (arXiv 2211.05102) give it for transformers:
a prompt is computed, 2 operations a parameter that a token meets; each further token of a batch waits for the weights
and for what is kept of all sequences to be read. Real engines reach a part of both; which part is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.gpus import Gpu
from cluster.planning.memory import EngineMemory, Sharding, weight_bytes
from cluster.planning.model_shape import ModelShape

READING = 0.6
"""The part of the memory's bandwidth that is assumed to be reached."""


COMPUTING = 0.4
"""The part of the arithmetic that is assumed to be reached."""


ALL_REDUCE_S = 20e-6
"""What is assumed for two GPUs to add up a layer's result, over NVLink; twice a layer."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What one replica may do with `batch` sequences at once.

    `token_s` is the time between two tokens of a sequence, `batch_token_s` the replica's time that a token costs when
    the batch is full, `prompt_token_s` the same for a token that is read.
    """

    batch: int
    token_s: float
    batch_token_s: float
    prompt_token_s: float

    def busy_s(self, input_tokens: float, output_tokens: float) -> float:
        """The replica's time that a call takes up."""
        return input_tokens * self.prompt_token_s + output_tokens * self.batch_token_s

    def call_s(self, input_tokens: float, output_tokens: float) -> float:
        """How long a call takes among others."""
        return input_tokens * self.prompt_token_s + output_tokens * self.token_s


def speed(shape: ModelShape, sharding: Sharding, gpu: Gpu, memory: EngineMemory, batch: int, context: float) -> Speed:
    """An estimate for a batch of sequences that are `context` tokens long on average.

    With stages, the batch is shared out among them, so that each computes all the time.
    """
    tflops = gpu.fp8_tflops if shape.linear_bytes == 1.0 and gpu.fp8_tflops else gpu.bf16_tflops
    flops = tflops * 1e12 * COMPUTING
    bandwidth = gpu.bandwidth_gb_s * 1e9 * READING
    stages = sharding.pipeline
    part = max(1.0, batch / stages)
    read = _weights_read(shape, sharding, part) + part * context * memory.kv_bytes_per_token
    computed = 2 * shape.active_parameters * part / sharding.shards
    added_up = 2 * shape.layers / stages * ALL_REDUCE_S if sharding.tensor > 1 else 0.0
    stage_s = max(read / bandwidth, computed / flops) + added_up
    return Speed(
        batch=batch,
        token_s=stages * stage_s,
        batch_token_s=stage_s / part,
        prompt_token_s=2 * shape.active_parameters / sharding.shards / flops,
    )


def _weights_read(shape: ModelShape, sharding: Sharding, tokens: float) -> float:
    """Bytes of weights that a shard reads for so many tokens: of the experts only those that one of them chose."""
    everything = weight_bytes(shape, sharding)
    if shape.experts == 1:
        return everything
    missed = (1 - shape.experts_per_token / shape.experts) ** tokens
    experts = shape.layers / sharding.pipeline * shape.experts / sharding.tensor * shape.expert_weights
    return everything - missed * experts * shape.linear_bytes
