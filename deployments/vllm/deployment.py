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
"""How long an engine without load is kept: starting one takes minutes."""


_ENGINE_DEFAULTS: Mapping[str, Any] = {
    # Without the second, a model may write white space between two JSON tokens without end.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}


# By default an engine sends vLLM's authors statistics about what it runs on.
_ENV_DEFAULTS: Mapping[str, str] = {"VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a vLLM backend is deployed."""

    name: str
    """The backend's name."""

    model: str
    """A hub id, a path or an object-store URL."""

    accelerator: str
    """`cpu`, `gpu` for whatever GPU there is, or a GPU type that Ray knows, such as `H100`."""

    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """vLLM's engine arguments, verbatim. Others have vLLM's defaults, but for structured outputs: compact JSON."""

    placement_strategy: str = "PACK"
    """How Ray places a replica's shards on nodes."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables of the engine's processes."""

    min_replicas: int = 1
    """The fewest replicas."""

    max_replicas: int = 1
    """The most replicas."""

    target_ongoing: int = 64
    """Calls that each replica should have under way."""

    max_ongoing: int = 256
    """Calls that a replica takes at once; as many again may wait for it."""

    drain_s: float = 130.0
    """How long a replica that is replaced has for the calls under way."""


def vllm_deployment(settings: EngineSettings) -> Application:
    """Build the Serve deployment of an engine. Ray must be initialised.

    Raises:
        ValueError: Ray or vLLM refuse the settings.
    """
    return build_llm_deployment(
        llm_config(settings),
        name_prefix="vllm:",
        deployment_cls=VLLMReplica,
    )


def llm_config(settings: EngineSettings) -> LLMConfig:
    """Translate a backend's settings for Serve LLM, and set every limit that it leaves open."""
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
