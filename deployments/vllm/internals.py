"""Everything of vLLM's and `ray.llm`'s that is not their public API, checked against the versions in `CHECKED`.

`PlacedEngine` is the engine as Ray Serve LLM starts it, with what this project changes about that; `CpuExecutor` starts
its shards on the CPUs of several nodes. The functions read and set what `ray.serve.llm.LLMServer` keeps to itself.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import ray
from ray.llm._internal.serve.core.configs.openai_api_models import TokenizeChatRequest, TokenizeCompletionRequest
from ray.llm._internal.serve.core.protocol import RawRequestInfo
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.llm import LLMConfig, LLMServer
from ray.util.placement_group import placement_group_table
from vllm.entrypoints.serve import create_error_response
from vllm.platforms import current_platform
from vllm.v1.executor import ray_executor_v2
from vllm.v1.executor.ray_executor_v2 import RayExecutorV2, RayWorkerProc

__all__ = [
    "CHECKED",
    "CpuExecutor",
    "PlacedEngine",
    "RawRequestInfo",
    "TokenizeChatRequest",
    "TokenizeCompletionRequest",
    "add_stat_logger",
    "create_error_response",
    "model_limits",
    "skip_model_download",
]

CHECKED = {"ray": "2.60.", "vllm": "0.32."}
"""The releases of each distribution that this module was checked against, by how their versions begin."""


class PlacedEngine(VLLMEngine):
    """An engine whose shards are where the placement group has them, on CPUs too, and whose tokenizer can be asked.

    Serve LLM starts all shards of an engine on CPUs beside the replica, wherever their bundles are, and looks for the
    tokenizer under a name that vLLM does not use.
    """

    async def start(self) -> None:
        await super().start()
        found = getattr(self._app_state, "serving_tokenization", None)
        self._oai_serving_tokenization = self._oai_serving_tokenization or found

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        table = cast("dict[str, Any]", placement_group_table(callback_ctx.placement_group))
        if current_platform.is_cpu() and len(set(table["bundles_to_node_id"].values())) > 1:
            config.parallel_config.distributed_executor_backend = CpuExecutor
        return arguments, frontend, config


class CpuExecutor(RayExecutorV2):
    """Starts a `CpuWorker` in each bundle that has a CPU.

    On GPUs vLLM's Ray executor starts a shard in each bundle of a placement group. It knows no CPUs: their platform
    names no Ray resource, and each shard asks Ray for the numbers of its GPUs. Here both know what a CPU is.
    """

    def _init_executor(self) -> None:
        # Both belong to this process, which is this one engine's.
        cast("Any", current_platform).ray_device_key = "CPU"
        cast("Any", ray_executor_v2).RayWorkerProc = CpuWorker
        super()._init_executor()

    @staticmethod
    def _get_actor_resource_kwargs() -> dict[str, Any]:
        return {}  # the bundle holds the CPU; the shard asks for nothing but its place in it


class CpuWorker(RayWorkerProc):
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
        # PyTorch ignores what it does not know in a query.
        address = f"{distributed_init_method}?node={_this_node()}"
        super().initialize_worker(local_rank, env_vars, address, driver_env_vars)


def skip_model_download(config: LLMConfig) -> None:
    """Skip Ray's download task, a process on every node, where the model is a local directory."""
    source = cast("Any", config.model_loading_config).model_source
    if isinstance(source, str) and Path(source).is_dir():
        cast("Any", config).get_or_create_callback().ctx.run_init_node = False


def model_limits(server: LLMServer) -> tuple[bool, int]:
    """Whether a running engine's model takes images, and how many tokens a prompt and its answer may have together."""
    config = cast("Any", server).engine._engine_client.model_config
    return bool(config.is_multimodal_model), int(config.max_model_len)


def add_stat_logger(server: LLMServer, logger: Any) -> None:
    """Have a running engine report each scheduler step to `logger.record`, as to vLLM's `AggregateStatLoggerBase`. An
    engine that keeps no statistics reports nothing."""
    client = getattr(cast("Any", server).engine, "_engine_client", None)
    manager = getattr(client, "logger_manager", None)
    if manager is not None:
        manager.stat_loggers.append(logger)


def _this_node() -> str:
    return ray.get_runtime_context().get_node_id()
