"""An event loop whose clock jumps to the next timer when nothing else can happen, so that minutes take no time."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

STARTS_AT = 1000.0
"""The loop's first time. It is far from zero, so that a time is not taken for a duration."""

_PATIENCE_S = 2.0


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Jumps only while it waits for nothing but its own timers; with sockets open or threads at work it really waits.

    Threads that were not started through `run_in_executor` are not seen. A loop in which nothing can happen any more
    raises instead of hanging.
    """

    def __init__(self) -> None:
        self._time = STARTS_AT
        self._threads_at_work = 0
        self._real = selectors.DefaultSelector()
        super().__init__(_JumpingSelector(self._real, self._wait))

    def time(self) -> float:
        return self._time

    def stall(self, for_s: float) -> None:
        """Let time go by while nothing runs, as when something blocks the loop."""
        self._time += for_s

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        self._threads_at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._threads_at_work -= 1

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        wakes_itself_only = len(self._real.get_map()) == 1 and not self._threads_at_work
        if wakes_itself_only and timeout is not None:
            self._time += timeout
            return []
        began_at = time.monotonic()
        ready = self._real.select(_PATIENCE_S if wakes_itself_only else timeout)
        self._time += time.monotonic() - began_at
        if wakes_itself_only and not ready:
            raise RuntimeError("every task waits for something that can never happen")
        return ready


class _JumpingSelector(selectors.BaseSelector):
    def __init__(self, real: selectors.BaseSelector, wait: Callable[[float | None], Any]) -> None:
        self._real = real
        self._wait = wait

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._wait(timeout)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.get_key(fileobj)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
