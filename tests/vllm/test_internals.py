"""What is used of the private parts of vLLM and `ray.llm` is there in the versions that it was checked against."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from vllm.v1.executor import ray_executor_v2
from vllm.v1.metrics.loggers import AggregateStatLoggerBase

from deployments.vllm.internals import CHECKED, CpuExecutor, CpuWorker, PlacedEngine
from deployments.vllm.scheduler_stats import EngineBacklog


@pytest.mark.parametrize("distribution", CHECKED)
def test_the_installed_version_is_one_that_was_checked(distribution: str) -> None:
    try:
        installed = version(distribution)
    except PackageNotFoundError:
        installed = version(f"{distribution}-cpu")
    assert installed.startswith(CHECKED[distribution]), (
        f"{distribution} {installed} is installed, and deployments/vllm/internals.py was checked against "
        f"{CHECKED[distribution]}*: run tests/vllm and tests/nodes, see what changed in the names that it uses, and "
        "put the new version into its CHECKED"
    )


@pytest.mark.parametrize(
    ("base", "ours", "names"),
    [
        (VLLMEngine, PlacedEngine, ("start", "_prepare_engine_config")),
        (ray_executor_v2.RayExecutorV2, CpuExecutor, ("_init_executor", "_get_actor_resource_kwargs")),
        (ray_executor_v2.RayWorkerProc, CpuWorker, ("get_node_and_physical_gpu_ids", "initialize_worker")),
        (AggregateStatLoggerBase, EngineBacklog, ("record", "log", "log_engine_initialized", "record_sleep_state")),
    ],
)
def test_what_is_overridden_is_there(base: type, ours: type, names: tuple[str, ...]) -> None:
    assert [name for name in names if not hasattr(base, name)] == []
    assert [name for name in names if name not in vars(ours)] == []
