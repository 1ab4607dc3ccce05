"""A backend's settings become what Serve LLM takes, with every limit set."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.autoscaling import autoscaling_config
from deployments.vllm.deployment import DOWN_AFTER_S, EngineSettings, llm_config


def _settings(**changes: Any) -> EngineSettings:
    return EngineSettings(**{"name": "mixtral", "model": "mistralai/Mixtral-8x22B-Instruct-v0.1", **changes})


def test_a_gpu_for_every_shard() -> None:
    settings = _settings(
        accelerator="H100",
        engine={"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        placement_strategy="STRICT_PACK",
    )
    engine = llm_config(settings).get_engine_config()
    assert engine.placement_strategy == "STRICT_PACK"
    assert engine.placement_bundles == [{"GPU": 1.0, "accelerator_type:H100": 0.001}] * 8
    assert engine.get_initialization_kwargs()["distributed_executor_backend"] == "ray"


def test_any_gpu() -> None:
    engine = llm_config(_settings(accelerator="gpu", engine={"tensor_parallel_size": 2})).get_engine_config()
    assert engine.placement_bundles == [{"GPU": 1.0}] * 2


def test_a_core_for_every_shard() -> None:
    engine = llm_config(_settings(accelerator="cpu", engine={"tensor_parallel_size": 2})).get_engine_config()
    assert engine.placement_bundles == [{"CPU": 1.0}] * 2


def test_no_limit_is_left_to_serve_llm() -> None:
    config = llm_config(_settings(accelerator="cpu", target_ongoing=10, max_ongoing=40, min_replicas=2, max_replicas=5))
    options = config.deployment_config
    assert options["max_ongoing_requests"] == options["max_queued_requests"] == 40
    assert options["autoscaling_config"] == autoscaling_config(2, 5, 10, DOWN_AFTER_S)


def test_engine_arguments_are_taken_verbatim_and_come_before_the_defaults() -> None:
    assert llm_config(_settings(accelerator="cpu", engine={"max_model_len": 64})).engine_kwargs == {
        "max_model_len": 64,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    own = {"structured_outputs_config": {"backend": "guidance"}}
    assert llm_config(_settings(accelerator="cpu", engine=own)).engine_kwargs == own


def test_the_environment_reaches_the_engine() -> None:
    config = llm_config(_settings(accelerator="cpu", env={"VLLM_CPU_KVCACHE_SPACE": "2"}))
    assert config.runtime_env == {"env_vars": {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}}


@pytest.mark.parametrize("wrong", [{"accelerator": "abacus"}, {"accelerator": "cpu", "placement_strategy": "HEAP"}])
def test_what_ray_does_not_know_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        llm_config(_settings(**wrong)).get_engine_config()


def test_an_unknown_engine_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_argument"):
        llm_config(_settings(accelerator="cpu", engine={"no_such_argument": 1})).get_engine_config()
