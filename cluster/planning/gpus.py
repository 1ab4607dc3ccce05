"""Memory, bandwidth and arithmetic throughput of GPU types.

Memory is the total that CUDA reports for a card. Bandwidth and dense FLOPS are the peak figures of NVIDIA's data
sheets, of the SXM version where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU type."""

    name: str
    """As Ray calls it, such as `H100`."""
    memory_gib: float
    bandwidth_gb_s: float
    """Peak memory bandwidth, in 10^9 bytes per second."""
    bf16_tflops: float
    """Peak dense bfloat16 throughput, in 10^12 operations per second."""
    fp8_tflops: float | None = None
    """Peak dense FP8 throughput; None for types without FP8."""
    gpus_per_node: int = 8
    """The usual number of cards in a node."""


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("T4", 14.6, 320, 65, gpus_per_node=4),
        Gpu("A10G", 22.0, 600, 70),
        Gpu("L4", 22.0, 300, 121, 242),
        # Ray has one name for cards with 40 and with 80 GB; planning with the smaller one is safe.
        Gpu("A100", 39.4, 1555, 312),
        Gpu("A100-40G", 39.4, 1555, 312),
        Gpu("L40S", 44.4, 864, 362, 733),
        Gpu("H100", 79.1, 3350, 989, 1979),
        Gpu("A100-80G", 79.1, 2039, 312),
        Gpu("H20", 95.0, 4000, 148, 296),
        Gpu("H200", 139.7, 4800, 989, 1979),
        Gpu("B200", 178.3, 8000, 2250, 4500),
    )
}
"""GPU types by name, in ascending order of memory."""
