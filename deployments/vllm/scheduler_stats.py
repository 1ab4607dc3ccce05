"""What an engine's scheduler says of its queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from deployments.autoscaling import AT_ONCE, QUEUED

FULL_KNOWN_FOR_S = 3600.0
"""How long an engine remembers how many requests it had room for. It depends on their lengths, which change."""


class EngineQueue:
    """How many requests an engine has no room for, and how many it runs when it is full; told after each of its steps.

    It is one of the engine's loggers of statistics (vLLM's `AggregateStatLoggerBase`, as far as it is called once the
    engine runs), and tells of the first engine alone where there are several. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = 0
        self._short = asyncio.Event()
        self._clock = clock
        self._at_once: int | None = None
        self._full_at = 0.0

    def attach(self, engine_client: Any) -> None:
        """Be told by this engine from now on. One that keeps no statistics tells nothing, and seems to have room."""
        manager = getattr(engine_client, "logger_manager", None)
        if manager is not None:
            manager.stat_loggers.append(self)

    def record(self, scheduler_stats: Any, *_: Any, engine_idx: int = 0, **__: Any) -> None:
        if scheduler_stats is not None and engine_idx == 0:
            self.waiting = scheduler_stats.num_waiting_reqs
            running = scheduler_stats.num_running_reqs
            if self.waiting:
                self._short.set()
                self._at_once, self._full_at = max(1, running), self._clock()
            else:
                self._short.clear()
                if self._at_once is not None and running > self._at_once:
                    self._at_once = running

    def autoscaling_stats(self) -> dict[str, float]:
        """For the autoscaling policy: the requests that wait, and how many run at once in a full engine, where one was
        full lately."""
        stats = {QUEUED: float(self.waiting)}
        if self._at_once is not None and self._clock() - self._full_at < FULL_KNOWN_FOR_S:
            stats[AT_ONCE] = float(self._at_once)
        return stats

    def log(self) -> None: ...

    def log_engine_initialized(self) -> None: ...

    def record_sleep_state(self, *_: Any) -> None: ...

    def record_admission_rejection(self, *_: Any) -> None: ...

    async def is_short(self) -> None:
        """Returns as soon as a request waits for room."""
        await self._short.wait()
