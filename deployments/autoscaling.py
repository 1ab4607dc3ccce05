"""Decides how many replicas a deployment should have: as many as keep its queue at its target depth.

Serve's controller asks `QueueDepthPolicy` several times a second. It scales up at once, and down slowly, as Kubernetes'
horizontal autoscaler does: not below what was wanted at any time in a stabilization window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

DURATION = "fusion_duration_s"
"""The statistic of how long a replica's calls took lately, in seconds."""


DOWN_AFTER_S = 60.0


QUEUED = "fusion_queued"
"""The statistic of the calls that wait for a slot inside of a replica. Serve counts them as running."""


LOCAL_CALLS = "fusion_local_calls"
"""The statistic of the calls under way in a replica that came over its local socket. Serve does not count them."""


AT_ONCE = "fusion_at_once"
"""The statistic of how many calls a replica that was full lately ran at once then."""


_WANTED = "wanted"


_STEPPED_DOWN_AT = "stepped_down_at"


_STEPPED_UP_AT = "stepped_up_at"


@dataclass(frozen=True, slots=True)
class Load:
    """A deployment's load: calls that run, calls that wait for a replica or in one, and how long a call takes, None
    when that is not known. `at_once` is how many calls a full replica runs, None when none was full lately."""

    running: float
    queued: float
    duration_s: float | None = None
    at_once: float | None = None


@dataclass(frozen=True, slots=True)
class QueueDepthSettings:
    """The depth of a queue, and how fast replicas are added and removed."""

    target: float
    """Calls under way or waiting that each replica should have."""

    drain_s: float = 1.0
    """The time in which the queue should be gone."""

    least_step: int = 4
    """A step up at most doubles the target number of replicas, or adds this many."""

    up_every_s: float = 1.0
    """The time between two steps up. A step does not wait for replicas that start, which may take minutes."""

    down_after_s: float = DOWN_AFTER_S
    """The stabilization window: no step down goes below what was wanted at any time in it."""

    down_every_s: float = 5.0
    """The time between two steps down, each by a tenth of the replicas and at least one."""


def wanted(load: Load, settings: QueueDepthSettings) -> int:
    """The number of replicas for this load, whatever the number is at present.

    A replica with `target` calls at a time of `duration_s` each ends `target / duration_s` calls a second. There should
    be enough replicas to end the queue in `drain_s`, beside those that keep the running calls at their depth. Where a
    replica is full with fewer calls than `target`, that number is its target.
    """
    target = settings.target if load.at_once is None else min(settings.target, max(1.0, load.at_once))
    by_depth = (load.running + load.queued) / target
    by_drain = 0.0
    if load.duration_s is not None:
        by_drain = (load.running + load.queued * load.duration_s / settings.drain_s) / target
    return math.ceil(max(by_depth, by_drain) - 1e-9)


def decide(
    load: Load, target: int, now: float, state: Mapping[str, Any], settings: QueueDepthSettings
) -> tuple[int, dict[str, Any]]:
    """Decide on the number of replicas. Returns it with the state for the next decision.

    Args:
        load: of the whole deployment.
        target: replicas that are aimed at now, whether they run yet or not.
        now: seconds, on any clock that only goes forward.
        state: what the last decision returned; empty at first.
        settings: the policy's settings.
    """
    now_wanted = wanted(load, settings)
    history = _with(state.get(_WANTED, ()), now, now_wanted, settings.down_after_s)
    stepped_down_at: float = state.get(_STEPPED_DOWN_AT, now - settings.down_every_s)
    stepped_up_at: float = state.get(_STEPPED_UP_AT, now - settings.up_every_s)
    floor = max(count for _, count in history)
    decision = target
    if now_wanted > target:
        if now - stepped_up_at >= settings.up_every_s:
            decision = min(now_wanted, target + max(target, settings.least_step))
            stepped_up_at = now
    elif floor < target and now - stepped_down_at >= settings.down_every_s:
        decision = max(floor, target - max(1, target // 10))
        stepped_down_at = now
    return decision, {_WANTED: history, _STEPPED_DOWN_AT: stepped_down_at, _STEPPED_UP_AT: stepped_up_at}


def _with(
    history: Sequence[tuple[float, int]], now: float, count: int, window_s: float
) -> tuple[tuple[float, int], ...]:
    """The history with one more entry, in the order of time and without entries that a later one exceeds, so that it
    stays short. The first is the maximum of the window."""
    kept = [(at, known) for at, known in history if at + window_s > now and known > count]
    return (*kept, (now, count))


class _Context(Protocol):
    """The part of `ray.serve.config.AutoscalingContext` that is used."""

    target_num_replicas: int
    current_time: float
    policy_state: dict[str, Any]
    total_num_requests: float
    total_queued_requests: float
    aggregated_metrics: Mapping[str, Mapping[Any, float]] | None


class QueueDepthPolicy:
    """The policy as Serve's `AutoscalingPolicy` takes it: `policy_kwargs` are `QueueDepthSettings`' fields.

    Serve bounds the result by the deployment's fewest and most replicas. Its own delays have to be 0.
    """

    def __init__(self, **settings: float) -> None:
        self._settings = QueueDepthSettings(**settings)  # type: ignore[arg-type]

    def __call__(self, ctx: _Context) -> tuple[int, dict[str, Any]]:
        reported = ctx.aggregated_metrics or {}
        queued = max(0.0, ctx.total_queued_requests) + sum(reported.get(QUEUED, {}).values())
        under_way = ctx.total_num_requests + sum(reported.get(LOCAL_CALLS, {}).values())
        load = Load(
            running=max(0.0, under_way - queued),
            queued=queued,
            duration_s=max(reported.get(DURATION, {}).values(), default=None),
            at_once=min(reported.get(AT_ONCE, {}).values(), default=None),
        )
        return decide(load, ctx.target_num_replicas, ctx.current_time, ctx.policy_state, self._settings)


def autoscaling_config(
    min_replicas: int, max_replicas: int, target: float, down_after_s: float = DOWN_AFTER_S
) -> dict[str, Any]:
    """A deployment's `autoscaling_config`, with this policy and metrics of the last two seconds alone."""
    return {
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "target_ongoing_requests": target,
        "metrics_interval_s": 1.0,
        "look_back_period_s": 2.0,
        # The policy has delays of its own.
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "policy": {
            "policy_function": f"{__name__}:{QueueDepthPolicy.__name__}",
            "policy_kwargs": {"target": target, "down_after_s": down_after_s},
        },
    }
