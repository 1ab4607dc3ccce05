"""Those who look on while a judge replica runs its requests: who records them, and who traces them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, cast

from ray import serve
from ray.serve import context as serve_context

from deployments.chat_request import ChatRequest
from deployments.metrics import TRACES, Exporter
from deployments.traces.fused_request import Account, FusedRequest
from deployments.traces.recorder import Recorder
from deployments.traces.settings import TraceSettings
from fusion.errors import FusionError
from fusion.preset import Task
from fusion.progress import Observer
from fusion.values import Fused


class Onlookers:
    """What a replica's requests are recorded with, in its event loop."""

    def __init__(self, traces: TraceSettings) -> None:
        self.recorder = Recorder(traces, _replica_name())
        Exporter({"": self.recorder}, family=TRACES).start()

    def attend(self, task: Task, chat: ChatRequest, started_at: float) -> Attendance:
        """Look at one request from here on. `started_at` is its arrival, on the event loop's clock."""
        return Attendance(self.recorder, task, chat, started_at)

    def close(self) -> None:
        """Write what is still to be written. Blocks, for seconds at most."""
        self.recorder.close()


class Attendance:
    """Looks at one request, whatever becomes of it: use it as a context around the request."""

    def __init__(self, recorder: Recorder, task: Task, chat: ChatRequest, started_at: float) -> None:
        self._recorder = recorder
        self._task = task
        self._chat = chat
        self._started_at = started_at
        self._account = Account()
        self._fused: Fused | None = None

    @property
    def observers(self) -> Sequence[Observer]:
        return (self._account,)

    def answered(self, fused: Fused) -> None:
        """The request has this result."""
        self._fused = fused

    def __enter__(self) -> Attendance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        took_s = asyncio.get_running_loop().time() - self._started_at
        convened_at = self._account.convened_at
        request = FusedRequest(
            id=_request_id(),
            trace_id=None,
            model=self._chat.model,
            streamed=self._chat.stream,
            task=self._task,
            arrived_at=time.time() - took_s,
            queued_ms=None if convened_at is None else (convened_at - self._started_at) * 1e3,
            took_ms=took_s * 1e3,
            account=self._account,
            fused=self._fused,
            error=_failure(error),
        )
        self._recorder.record(request)


def _failure(error: BaseException | None) -> FusionError | None:
    """What went wrong, None when it was the client that went away."""
    if isinstance(error, FusionError):
        return error
    return FusionError(f"an internal error ({type(error).__name__})") if isinstance(error, Exception) else None


def _request_id() -> str:
    """The id that Serve gives the request and puts on its response."""
    return cast("Any", serve_context)._get_serve_request_context().request_id or uuid.uuid4().hex


def _replica_name() -> str:
    """The replica's name within its deployment, which no other one has."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except Exception:  # outside of a replica Serve raises an error of its own
        return uuid.uuid4().hex[:8]
