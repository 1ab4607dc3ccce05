"""The policies that are compared, each with the delays that it has in Serve."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray.serve.autoscaling_policy import (
    _apply_delay_logic,
    _apply_scaling_factors,
    default_autoscaling_policy,
)
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.autoscaling import DOWN_AFTER_S, Load, QueueDepthSettings, autoscaling_config, decide


@dataclass(frozen=True)
class Observed:
    """What the controller was told last: averages over the look-back period. No duration is known at first."""

    running: float
    queued: float
    duration_s: float | None


class Scaler(Protocol):
    """When it is told of the load, and asked for a number of replicas."""

    look_back_s: float
    told_every_s: float
    asked_every_s: float

    def decide(self, observed: Observed, replicas: int, target: int, now: float) -> int: ...


@dataclass
class QueueDepth:
    """`deployments.autoscaling`, as the deployments are configured with it."""

    target: float
    down_after_s: float = DOWN_AFTER_S
    asked_every_s: float = 0.5
    _state: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        config = autoscaling_config(1, 2, self.target, self.down_after_s)
        self.look_back_s: float = config["look_back_period_s"]
        self.told_every_s: float = config["metrics_interval_s"]
        self._settings = QueueDepthSettings(**config["policy"]["policy_kwargs"])

    def decide(self, observed: Observed, replicas: int, target: int, now: float) -> int:
        load = Load(observed.running, observed.queued, observed.duration_s)
        decision, self._state = decide(load, target, now, self._state, self._settings)
        return decision


@dataclass
class ServeDefault:
    """Serve's own policy and its own steps around it, with the delays that `AutoscalingConfig` has by default."""

    target: float
    most: int
    asked_every_s: float = 0.5
    _state: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._config = AutoscalingConfig(
                min_replicas=1, max_replicas=self.most, target_ongoing_requests=self.target
            )
        self.look_back_s: float = self._config.look_back_period_s
        self.told_every_s: float = self._config.metrics_interval_s

    def decide(self, observed: Observed, replicas: int, target: int, now: float) -> int:
        context = AutoscalingContext(
            deployment_id=None,  # type: ignore[arg-type]
            deployment_name="judge",
            app_name=None,
            current_num_replicas=replicas,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=observed.running + observed.queued,
            total_queued_requests=observed.queued,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=self.most,
            policy_state={},
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=now,
            config=self._config,
        )
        desired, _ = default_autoscaling_policy(context)
        scaled = _apply_scaling_factors(desired, replicas, self._config)
        bounded = max(1, min(self.most, scaled))
        # Serve's wrapper reads the wall clock; the step itself takes a time.
        decision, self._state = _apply_delay_logic(bounded, target, self._config, self._state, _now=now)
        return decision


@dataclass
class Fixed:
    """So many, whatever comes."""

    replicas: int
    look_back_s: float = 1.0
    told_every_s: float = 60.0
    asked_every_s: float = 60.0

    def decide(self, observed: Observed, replicas: int, target: int, now: float) -> int:
        return self.replicas
