"""What comes nearest to an engine that does not fit, and does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cluster.planning.gpus import GPUS, Gpu
from cluster.planning.memory import Sharding, misfit, on_gpu
from cluster.planning.model_shape import ModelShape

_MOST_SHARDS = 64


_WORTH = 0.25


def nearest(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> tuple[str, ...]:
    """Changes of which each alone makes it fit, in the words of the configuration. In the order of what they take: less
    length, FP8 weights, more GPUs, larger GPUs."""
    return tuple(
        found
        for change in (_shorter, _quantized, _more_gpus, _larger_gpus)
        for found in [next(change(shape, engine, gpu), None)]
        if found is not None
    )


def _shorter(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    if misfit(shape, Sharding.of(engine)) is None:
        longest = on_gpu(shape, engine, gpu).longest // 1024 * 1024
        if longest >= _WORTH * shape.max_len:
            yield f"max_model_len: {longest}"


def _quantized(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    if gpu.fp8_tflops is not None and shape.linear_bytes > 1:
        smaller = replace(shape, linear_bytes=1.0)
        if _fits(smaller, engine, gpu):
            yield "quantization: fp8"


def _more_gpus(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    """The fewest GPUs on which it fits, however they are now: the parts of a layer in one node, stages over nodes."""
    now = Sharding.of(engine)
    cuts = [
        Sharding(tensor, pipeline, now.expert)
        for tensor in range(1, gpu.gpus_per_node + 1)
        for pipeline in range(1, _MOST_SHARDS // tensor + 1)
        if tensor == gpu.gpus_per_node or pipeline == 1
    ]
    for cut in sorted(cuts, key=lambda each: (each.shards, each.pipeline)):
        changed = {**engine, "tensor_parallel_size": cut.tensor, "pipeline_parallel_size": cut.pipeline}
        if cut != now and cut.shards >= now.shards and _fits(shape, changed, gpu):
            nodes = -(-cut.shards // gpu.gpus_per_node)
            stages = f", pipeline_parallel_size: {cut.pipeline}" if cut.pipeline > 1 else ""
            where = f"{cut.shards} {gpu.name} in {nodes} node{'s' if nodes > 1 else ''}"
            yield f"tensor_parallel_size: {cut.tensor}{stages} ({where})"


def _larger_gpus(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    for larger in GPUS.values():
        if larger.memory_gib > gpu.memory_gib and larger.name != "A100" and _fits(shape, engine, larger):
            yield f"accelerator: {larger.name}"


def _fits(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> bool:
    return misfit(shape, Sharding.of(engine)) is None and on_gpu(shape, engine, gpu).longest >= shape.max_len
