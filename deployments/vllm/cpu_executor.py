"""The shards of one engine on the CPUs of several nodes.

On GPUs vLLM's Ray executor starts a shard in each bundle of a placement group. It knows no CPUs: their platform names
no Ray resource, and each shard asks Ray for the numbers of its GPUs. Here both are told what a CPU is.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any, cast

import ray
from vllm.platforms import current_platform
from vllm.v1.executor import ray_executor_v2
from vllm.v1.executor.ray_executor_v2 import RayExecutorV2, RayWorkerProc


class CpuShard(RayWorkerProc):
    """A shard in its bundle. It computes with `OMP_NUM_THREADS` threads, one if that is not set."""

    def get_node_and_physical_gpu_ids(self) -> tuple[str, list[int]]:
        return _this_node(), []

    def initialize_worker(
        self,
        local_rank: int,
        env_vars: dict[str, str],
        distributed_init_method: str,
        driver_env_vars: dict[str, str] | None = None,
        assigned_physical_gpu_ids: list[int] | None = None,  # noqa: ARG002
    ) -> None:
        # vLLM takes shards for neighbours, and has them share memory, when this address's last part is the same.
        # PyTorch passes over what it does not know of a query.
        neighbours = f"{distributed_init_method}?node={_this_node()}"
        super().initialize_worker(local_rank, env_vars, neighbours, driver_env_vars)


class CpuShards(RayExecutorV2):
    """Starts a `CpuShard` in each bundle that has a CPU."""

    def _init_executor(self) -> None:
        # Both belong to this process, which is this one engine's.
        cast("Any", current_platform).ray_device_key = "CPU"
        cast("Any", ray_executor_v2).RayWorkerProc = CpuShard
        super()._init_executor()

    @staticmethod
    def _get_actor_resource_kwargs() -> dict[str, Any]:
        return {}  # the bundle holds the CPU; the shard's place in it is all that is asked for


def _this_node() -> str:
    return ray.get_runtime_context().get_node_id()
