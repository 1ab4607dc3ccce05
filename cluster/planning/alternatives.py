"""Changes that make an engine fit that does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cluster.planning.gpus import GPUS, Gpu
from cluster.planning.memory import Sharding, memory_on_gpu, sharding_error
from cluster.planning.model_shape import ModelShape

_MAX_SHARDS = 64


_MIN_LENGTH_SHARE = 0.25
"""A context below this share of the wanted one is not suggested."""


def alternatives(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> tuple[str, ...]:
    """Returns changes to the configuration, each of which makes the engine fit on its own.

    The cheapest come first: a shorter context, FP8 weights, more GPUs, larger GPUs.
    """
    return tuple(
        found
        for change in (_shorter, _quantized, _more_gpus, _larger_gpus)
        for found in [next(change(shape, engine, gpu), None)]
        if found is not None
    )


def _shorter(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    if sharding_error(shape, Sharding.of(engine)) is None:
        longest = memory_on_gpu(shape, engine, gpu).longest // 1024 * 1024
        if longest >= _MIN_LENGTH_SHARE * shape.max_len:
            yield f"max_model_len: {longest}"


def _quantized(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    if gpu.fp8_tflops is not None and shape.linear_bytes > 1:
        smaller = replace(shape, linear_bytes=1.0)
        if _fits(smaller, engine, gpu):
            yield "quantization: fp8"


def _more_gpus(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    """Yields layouts on more GPUs, the fewest first: tensor parallel inside of a node, pipeline stages across nodes."""
    current = Sharding.of(engine)
    layouts = [
        Sharding(tensor, pipeline, current.expert)
        for tensor in range(1, gpu.gpus_per_node + 1)
        for pipeline in range(1, _MAX_SHARDS // tensor + 1)
        if tensor == gpu.gpus_per_node or pipeline == 1
    ]
    for layout in sorted(layouts, key=lambda each: (each.shards, each.pipeline)):
        changed = {**engine, "tensor_parallel_size": layout.tensor, "pipeline_parallel_size": layout.pipeline}
        if layout != current and layout.shards >= current.shards and _fits(shape, changed, gpu):
            nodes = -(-layout.shards // gpu.gpus_per_node)
            stages = f", pipeline_parallel_size: {layout.pipeline}" if layout.pipeline > 1 else ""
            where = f"{layout.shards} {gpu.name} in {nodes} node{'s' if nodes > 1 else ''}"
            yield f"tensor_parallel_size: {layout.tensor}{stages} ({where})"


def _larger_gpus(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> Iterator[str]:
    for larger in GPUS.values():
        if larger.memory_gib > gpu.memory_gib and larger.name != "A100" and _fits(shape, engine, larger):
            yield f"accelerator: {larger.name}"


def _fits(shape: ModelShape, engine: Mapping[str, Any], gpu: Gpu) -> bool:
    return (
        sharding_error(shape, Sharding.of(engine)) is None
        and memory_on_gpu(shape, engine, gpu).longest >= shape.max_len
    )
