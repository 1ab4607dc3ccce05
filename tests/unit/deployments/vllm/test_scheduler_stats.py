"""An engine's queue as the autoscaling policy is told of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from deployments.autoscaling import AT_ONCE, QUEUED
from deployments.vllm.scheduler_stats import FULL_KNOWN_FOR_S, EngineBacklog


@dataclass
class SchedulerStats:
    """The fields of vLLM's `SchedulerStats` that are read."""

    num_running_reqs: int
    num_waiting_reqs: int


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_engine_with_room_says_that_nothing_waits() -> None:
    queue = EngineBacklog()
    queue.record(SchedulerStats(5, 0), None)
    assert queue.autoscaling_stats() == {QUEUED: 0.0}


def test_a_full_engine_says_what_waits_and_what_it_runs_and_remembers_the_latter() -> None:
    clock = Clock()
    queue = EngineBacklog(clock)
    queue.record(SchedulerStats(4, 3), None, mm_cache_stats=None, engine_idx=0)
    assert queue.autoscaling_stats() == {QUEUED: 3.0, AT_ONCE: 4.0}
    queue.record(SchedulerStats(2, 0), None)
    assert queue.autoscaling_stats() == {QUEUED: 0.0, AT_ONCE: 4.0}
    queue.record(SchedulerStats(6, 0), None)  # shorter requests
    assert queue.autoscaling_stats() == {QUEUED: 0.0, AT_ONCE: 6.0}
    clock.now_s = FULL_KNOWN_FOR_S
    assert queue.autoscaling_stats() == {QUEUED: 0.0}


def test_steps_without_statistics_and_other_engines_change_nothing() -> None:
    queue = EngineBacklog()
    queue.record(None, None)
    queue.record(SchedulerStats(4, 3), None, engine_idx=1)
    assert queue.autoscaling_stats() == {QUEUED: 0.0}


async def test_who_waits_for_a_shortage_hears_of_it() -> None:
    queue = EngineBacklog()
    hearing = asyncio.create_task(queue.wait_for_backlog())
    await asyncio.sleep(0)
    assert not hearing.done()
    queue.record(SchedulerStats(4, 1), None)
    await hearing
