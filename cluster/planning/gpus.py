"""What is known of GPUs: memory, bandwidth, arithmetic.

Memory is what CUDA reports of a whole card. Bandwidth and dense arithmetic are from NVIDIA's data sheets (SXM where
there is one): what a card can do at best.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU type under the name that Ray gives it. `gpus_per_node` is what is usual."""

    name: str
    memory_gib: float
    bandwidth_gb_s: float
    bf16_tflops: float
    fp8_tflops: float | None = None
    gpus_per_node: int = 8


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("T4", 14.6, 320, 65, gpus_per_node=4),
        Gpu("A10G", 22.0, 600, 70),
        Gpu("L4", 22.0, 300, 121, 242),
        # Ray calls cards with 40 and with 80 GB by one name; the smaller one is safe to plan with.
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
"""By name, from little memory to much."""
