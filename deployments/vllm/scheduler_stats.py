"""Follows an engine's queue by the statistics of its scheduler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from deployments.autoscaling import AT_ONCE, QUEUED

FULL_KNOWN_FOR_S = 3600.0
"""How long the number of requests that filled the engine is kept. It depends on their lengths, which change."""


class EngineBacklog:
    """Counts the requests that an engine has no room for, and those that it runs when it is full.

    It is one of the engine's loggers of statistics (vLLM's `AggregateStatLoggerBase`, as far as its methods are called
    once the engine runs), called after each step, and follows the first engine where there are several. `clock` gives
    seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = 0
        self._has_backlog = asyncio.Event()
        self._clock = clock
        self._at_once: int | None = None
        self._full_at = 0.0

    def record(self, scheduler_stats: Any, *_: Any, engine_idx: int = 0, **__: Any) -> None:
        if scheduler_stats is not None and engine_idx == 0:
            self.waiting = scheduler_stats.num_waiting_reqs
            running = scheduler_stats.num_running_reqs
            if self.waiting:
                self._has_backlog.set()
                self._at_once, self._full_at = max(1, running), self._clock()
            else:
                self._has_backlog.clear()
                if self._at_once is not None and running > self._at_once:
                    self._at_once = running

    def autoscaling_stats(self) -> dict[str, float]:
        """The statistics for the autoscaling policy: the requests that wait, and how many ran at once when the engine
        was last full, if that was lately."""
        stats = {QUEUED: float(self.waiting)}
        if self._at_once is not None and self._clock() - self._full_at < FULL_KNOWN_FOR_S:
            stats[AT_ONCE] = float(self._at_once)
        return stats

    def log(self) -> None: ...

    def log_engine_initialized(self) -> None: ...

    def record_sleep_state(self, *_: Any) -> None: ...

    def record_admission_rejection(self, *_: Any) -> None: ...

    async def wait_for_backlog(self) -> None:
        """Return as soon as a request waits for room."""
        await self._has_backlog.wait()
