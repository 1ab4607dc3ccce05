"""The Serve deployment of a vLLM engine, through `ray.serve.llm`.

The engine lives in the member's own replica, so a call takes one hop, and all members that speak through it share the
deployment (docs/decisions/0001-engine-in-the-member-replica.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.serve import Application
from ray.serve.llm import LLMConfig, build_llm_deployment  # pyright: ignore[reportUnknownVariableType]
from ray.serve.schema import LoggingConfig

from deployments.autoscaling import autoscaling_config
from deployments.vllm.replica import VLLMReplica

DOWN_AFTER_S = 600.0
"""How long an engine that nobody needs is kept: starting one takes minutes."""


_ENGINE_DEFAULTS: Mapping[str, Any] = {
    # Without the second, a model may fill its answer with white space between two JSON tokens and never come to an end.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}


# An engine tells vLLM's authors what it runs on unless told not to.
_ENV_DEFAULTS: Mapping[str, str] = {"VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a vLLM backend runs.

    `model` is a hub id, a path or an object-store URL. `engine` holds vLLM's engine arguments, verbatim; what it leaves
    out is vLLM's default, but for structured outputs, which are held to compact JSON. `accelerator` is `cpu`, `gpu` for
    whatever GPU there is, or a GPU type that Ray knows. Each replica is meant to have `target_ongoing` calls under way
    and takes `max_ongoing`; as many again may wait for it. One that is to go has `drain_s` seconds to end what it has.
    """

    name: str
    model: str
    accelerator: str
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    placement_strategy: str = "PACK"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing: int = 64
    max_ongoing: int = 256
    drain_s: float = 130.0


def vllm_deployment(settings: EngineSettings) -> Application:
    """The deployment that wraps an engine. Ray must be initialised.

    Raises:
        ValueError: the settings are not what Ray or vLLM take.
    """
    return build_llm_deployment(
        llm_config(settings),
        name_prefix="vllm:",
        deployment_cls=VLLMReplica,
    )


def llm_config(settings: EngineSettings) -> LLMConfig:
    """A backend's settings in the words of Serve LLM, with every limit that it leaves open set."""
    on_cpu = settings.accelerator == "cpu"
    return LLMConfig.model_validate(
        {
            "model_loading_config": {"model_id": settings.name, "model_source": settings.model},
            "engine_kwargs": {**_ENGINE_DEFAULTS, **settings.engine},
            "accelerator_config": {"kind": "cpu" if on_cpu else "gpu"},
            "accelerator_type": None if settings.accelerator in ("cpu", "gpu") else settings.accelerator,
            "placement_group_config": {
                "bundle_per_worker": {"CPU": 1} if on_cpu else {"GPU": 1},
                "strategy": settings.placement_strategy,
            },
            "runtime_env": {"env_vars": {**_ENV_DEFAULTS, **settings.env}},
            # Tokens are coalesced where they cross to the judge; the engine need not hold them back.
            "experimental_configs": {"stream_batching_interval_ms": 0},
            "deployment_config": {
                "max_ongoing_requests": settings.max_ongoing,
                "max_queued_requests": settings.max_ongoing,
                "graceful_shutdown_timeout_s": settings.drain_s,
                "max_surge_percent": 100,
                "autoscaling_config": autoscaling_config(
                    settings.min_replicas, settings.max_replicas, settings.target_ongoing, DOWN_AFTER_S
                ),
                # The shards' own bundles hold what the engine takes; the replica beside them only waits.
                "ray_actor_options": {"num_cpus": 0},
                # On a machine whose every core computes, a health check may wait for its turn.
                "health_check_timeout_s": 30,
                "logging_config": LoggingConfig(enable_access_log=False).model_dump(),
            },
            "log_engine_metrics": True,
        }
    )
