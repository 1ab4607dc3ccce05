"""The autoscaling policy: up at once and in bounded steps, down slowly, never flapping, never below what is needed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve.config import AutoscalingConfig

from deployments.autoscaling import (
    AT_ONCE,
    DURATION,
    LOCAL_CALLS,
    QUEUED,
    Load,
    QueueDepthPolicy,
    QueueDepthSettings,
    autoscaling_config,
    decide,
    wanted,
)

SETTINGS = QueueDepthSettings(target=4)
LOADS = st.lists(st.integers(0, 500), min_size=1, max_size=60)


@dataclass
class Fleet:
    """A deployment whose replicas start as soon as they are aimed at, asked once a second."""

    replicas: int = 1
    now: float = 0.0
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: QueueDepthSettings = SETTINGS

    def under(self, calls: float, seconds: int = 1) -> list[int]:
        """How many replicas there are in each of these seconds."""
        history: list[int] = []
        for _ in range(seconds):
            load = Load(running=calls, queued=0)
            target, self.state = decide(load, self.replicas, self.now, self.state, self.settings)
            self.replicas = max(1, target)
            self.now += 1
            history.append(self.replicas)
        return history


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (Load(0, 0), 0),
        (Load(1, 0), 1),
        (Load(4, 0), 1),
        (Load(5, 0), 2),
        (Load(4, 4), 2),
        (Load(4, 4, duration_s=1.0), 2),
        (Load(4, 4, duration_s=10.0), 11),
        (Load(4, 4, duration_s=0.1), 2),
        (Load(2, 6, at_once=2), 4),
        (Load(2, 6, at_once=0), 8),
        (Load(20, 4, at_once=20), 6),
    ],
)
def test_as_many_as_keep_the_depth_and_drain_the_queue(load: Load, replicas: int) -> None:
    assert wanted(load, SETTINGS) == replicas


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.01, 60))
def test_the_queue_is_gone_in_time(running: int, queued: int, duration_s: float) -> None:
    replicas = wanted(Load(running, queued, duration_s), SETTINGS)
    ended_per_s = replicas * SETTINGS.target / duration_s
    assert queued <= ended_per_s * SETTINGS.drain_s + 1e-6


def test_a_burst_is_met_at_once_in_steps_that_double() -> None:
    assert Fleet().under(200, 5) == [5, 10, 20, 40, 50]


def test_a_step_up_does_not_wait_for_replicas_that_start_but_for_its_time() -> None:
    """Were it bound to what runs, a start of minutes would be waited for at every doubling."""
    target, state, targets = 1, dict[str, Any](), list[int]()
    for tick in range(9):
        target, state = decide(Load(200, 0), target, tick / 2, state, SETTINGS)
        targets.append(target)
    assert targets == [5, 5, 10, 10, 20, 20, 40, 40, 50]


def test_a_step_up_never_lowers_what_is_aimed_at() -> None:
    assert decide(Load(200, 0), 80, 0.0, {}, SETTINGS)[0] >= 50
    assert decide(Load(200, 0), 50, 0.0, {}, SETTINGS)[0] == 50


def test_it_goes_down_slowly_and_late() -> None:
    fleet = Fleet()
    fleet.under(200, 10)
    history = fleet.under(4, 300)
    assert history[: int(SETTINGS.down_after_s) - 1] == [50] * (int(SETTINGS.down_after_s) - 1)
    assert history[-1] == 1
    changes = [(before, after) for before, after in pairwise(history) if before != after]
    assert all(0 < before - after <= max(1, before // 10) for before, after in changes)
    first = history.index(45)
    assert history[first : first + int(SETTINGS.down_every_s)] == [45] * int(SETTINGS.down_every_s)


def test_a_load_that_swings_moves_nothing_once_it_is_met() -> None:
    fleet = Fleet()
    fleet.under(100, 10)
    for _ in range(20):
        assert set(fleet.under(20, 25) + fleet.under(100, 5)) == {25}


@given(LOADS)
def test_never_below_what_was_wanted_lately_nor_above_what_was_wanted_ever(loads: list[int]) -> None:
    fleet = Fleet()
    for index, calls in enumerate(loads):
        before = fleet.replicas
        (after,) = fleet.under(calls)
        now_wanted = wanted(Load(calls, 0), SETTINGS)
        most = before + max(before, SETTINGS.least_step)
        assert min(now_wanted, most) <= after <= max(before, min(now_wanted, most))
        if after < before:
            lately = loads[max(0, index - int(SETTINGS.down_after_s) + 1) : index + 1]
            assert after >= max(wanted(Load(earlier, 0), SETTINGS) for earlier in lately)


@given(st.lists(st.integers(0, 10_000), max_size=300))
def test_little_is_remembered(loads: list[int]) -> None:
    fleet = Fleet()
    for calls in loads:
        fleet.under(calls)
        counts = [count for _, count in fleet.state["wanted"]]
        assert counts == sorted(set(counts), reverse=True)
        assert len(counts) <= SETTINGS.down_after_s


@dataclass
class Context:
    """What Serve tells a policy."""

    total_num_requests: float
    total_queued_requests: float
    aggregated_metrics: dict[str, dict[str, float]] | None = None
    target_num_replicas: int = 4
    current_time: float = 0.0
    policy_state: dict[str, Any] = field(default_factory=dict[str, Any])


@pytest.mark.parametrize(
    ("context", "replicas"),
    [
        (Context(20, 4), 5),
        (Context(20, 4, {DURATION: {"a": 1.0, "b": 2.0}}), 6),
        (Context(20, 4, {"other": {"a": 100.0}}), 5),
        (Context(20, -1), 5),
        (Context(20, 0, {DURATION: {"a": 2.0}, QUEUED: {"a": 3.0, "b": 1.0}}), 6),
        # An engine's queue is a part of the calls that Serve counts, and not counted twice.
        (Context(20, 0, {QUEUED: {"a": 8.0, "b": 5.0}}), 5),
        (Context(20, 0, {QUEUED: {"a": 8.0, "b": 5.0}, AT_ONCE: {"a": 4, "b": 3}}), 7),
        # Serve does not count the calls that come over sockets.
        (Context(1, 0, {LOCAL_CALLS: {"a": 12.0, "b": 7.0}}), 5),
    ],
)
def test_what_serve_tells_it(context: Context, replicas: int) -> None:
    decision, state = QueueDepthPolicy(target=4)(context)
    assert decision == replicas
    assert context.policy_state == {}
    assert state["wanted"] == ((0.0, replicas),)


def test_serve_takes_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        config = AutoscalingConfig(**autoscaling_config(1, 8, 4.0, 30.0))
    policy = config.policy.get_policy()
    assert isinstance(policy, type)
    assert policy is QueueDepthPolicy
    assert config.policy.policy_kwargs == {"target": 4.0, "down_after_s": 30.0}
    assert (config.upscale_delay_s, config.downscale_delay_s) == (0, 0)
