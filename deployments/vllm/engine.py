"""The vLLM engine as Ray Serve LLM starts it, with what this project changes about that."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.llm import LLMConfig  # pyright: ignore[reportUnknownVariableType]
from ray.util.placement_group import placement_group_table  # pyright: ignore[reportUnknownVariableType]
from vllm.platforms import current_platform

from deployments.vllm.cpu_executor import CpuShards


class PlacedEngine(VLLMEngine):
    """An engine whose shards are where the placement group has them, on CPUs too, and whose tokenizer can be asked.

    Serve LLM starts all shards of an engine on CPUs beside the replica, wherever their bundles are, and looks for the
    tokenizer by a name that vLLM has given up.
    """

    async def start(self) -> None:
        await super().start()
        found = getattr(self._app_state, "serving_tokenization", None)
        self._oai_serving_tokenization = self._oai_serving_tokenization or found

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        table = cast("dict[str, Any]", placement_group_table(callback_ctx.placement_group))
        if current_platform.is_cpu() and len(set(table["bundles_to_node_id"].values())) > 1:
            config.parallel_config.distributed_executor_backend = CpuShards
        return arguments, frontend, config


def skip_model_download(config: LLMConfig) -> None:
    """A model that is in its place need not be looked for, which takes a process on every node."""
    source = cast("Any", config.model_loading_config).model_source
    if isinstance(source, str) and Path(source).is_dir():
        cast("Any", config).get_or_create_callback().ctx.run_init_node = False
