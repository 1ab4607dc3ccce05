"""How many replicas a deployment should have: as many as keep their queue at its target depth.

Serve's controller asks `QueueDepthPolicy` several times a second. It decides at once on the way up, and slowly on the
way down, as Kubernetes' horizontal autoscaler does (a stabilization window over what was wanted lately).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

DURATION = "fusion_duration_s"
"""The name under which a replica reports how long its calls took lately, in seconds."""


DOWN_AFTER_S = 60.0


QUEUED = "fusion_queued"
"""The name under which a replica reports how many calls wait for their turn in it. To Serve they are running."""


LOCAL_CALLS = "fusion_local_calls"
"""The statistic of the calls under way in a replica that came over its local socket. Serve does not count them."""


AT_ONCE = "fusion_at_once"
"""The name under which a replica that was full lately reports how many calls it ran at once then."""


_WANTED = "wanted"


_STEPPED_DOWN_AT = "stepped_down_at"


_STEPPED_UP_AT = "stepped_up_at"


@dataclass(frozen=True, slots=True)
class Load:
    """What a deployment has to do: calls that run, calls that wait for a replica or in one, and how long a call takes,
    None when that is not known. `at_once` is how many calls a full replica runs, None when none was full lately."""

    running: float
    queued: float
    duration_s: float | None = None
    at_once: float | None = None


@dataclass(frozen=True, slots=True)
class QueueDepthSettings:
    """Each replica should have `target` calls under way or waiting, and the queue should be gone in `drain_s`.

    A step up at most doubles the replicas that are aimed at, or adds `least_step` to them, every `up_every_s`: it does
    not wait for those that start, which may take minutes. A step down takes away a tenth, at least one, every
    `down_every_s`, and not below what was wanted at any time in the last `down_after_s`.
    """

    target: float
    drain_s: float = 1.0
    least_step: int = 4
    up_every_s: float = 1.0
    down_after_s: float = DOWN_AFTER_S
    down_every_s: float = 5.0


def wanted(load: Load, settings: QueueDepthSettings) -> int:
    """Replicas for this load, whatever there are now.

    A replica with `target` calls at a time of `duration_s` each ends `target / duration_s` in a second; so many of them
    as end the queue in `drain_s` are wanted at least, beside those that keep the running calls at their depth. Where a
    replica is full with fewer calls than `target`, so many are its target.
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
    """The number of replicas to aim at, and what to remember for the next decision.

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
    """What is still the most that was wanted since, in the order of time: nothing that a later one exceeds, so that
    what is kept is short. The first is the most of the window."""
    kept = [(at, known) for at, known in history if at + window_s > now and known > count]
    return (*kept, (now, count))


class _Context(Protocol):
    """What is used of `ray.serve.config.AutoscalingContext`."""

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
        told = ctx.aggregated_metrics or {}
        queued = max(0.0, ctx.total_queued_requests) + sum(told.get(QUEUED, {}).values())
        under_way = ctx.total_num_requests + sum(told.get(LOCAL_CALLS, {}).values())
        load = Load(
            running=max(0.0, under_way - queued),
            queued=queued,
            duration_s=max(told.get(DURATION, {}).values(), default=None),
            at_once=min(told.get(AT_ONCE, {}).values(), default=None),
        )
        return decide(load, ctx.target_num_replicas, ctx.current_time, ctx.policy_state, self._settings)


def autoscaling_config(
    min_replicas: int, max_replicas: int, target: float, down_after_s: float = DOWN_AFTER_S
) -> dict[str, Any]:
    """A deployment's `autoscaling_config`, with this policy and with a look at the last two seconds alone."""
    return {
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "target_ongoing_requests": target,
        "metrics_interval_s": 1.0,
        "look_back_period_s": 2.0,
        # The policy's own ways of waiting take their place.
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "policy": {
            "policy_function": f"{__name__}:{QueueDepthPolicy.__name__}",
            "policy_kwargs": {"target": target, "down_after_s": down_after_s},
        },
    }
