"""Recording and tracing around a judge replica's requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context

from deployments.api.chat_endpoint import REQUEST_HEADERS
from deployments.api.chat_request import ChatRequest
from deployments.observability.exporter import RECORDINGS, Exporter
from deployments.observability.identity import replica_name, request_id
from deployments.observability.tracing.members import Traced
from deployments.observability.tracing.provider import Tracing, context_of
from deployments.observability.tracing.request_spans import RequestSpans
from deployments.observability.tracing.settings import TracingSettings
from deployments.recordings.fused_request import Account, FusedRequest
from deployments.recordings.settings import RecordingSettings
from fusion.errors import FusionError
from fusion.member import Member, MemberProfile
from fusion.presets import Task
from fusion.progress import Observer
from fusion.results import Failure, Fused

if TYPE_CHECKING:
    from deployments.recordings.recorder import Recorder


class Instrumentation:
    """Records and traces a replica's requests, as far as each is configured. Make it in the replica's event loop."""

    def __init__(self, recordings: RecordingSettings | None, tracing: TracingSettings | None) -> None:
        name = replica_name()
        self._recorder = None if recordings is None else _recorder(recordings, name)
        self._tracing = None if tracing is None else Tracing(tracing, name)

    def traced(self, member: Member, profiles: Mapping[str, MemberProfile]) -> Member:
        """The member, with a span for each of its calls where calls are traced."""
        return member if self._tracing is None else Traced(member, self._tracing, profiles)

    def observe(self, task: Task, chat: ChatRequest, account: Account, started_at: float) -> RequestScope:
        """Observe one request from here on. `account` is of its calls; `started_at` is its arrival, on the event loop's
        clock."""
        return RequestScope(self._recorder, self._tracing, task, chat, account, started_at)

    @contextmanager
    def in_clients_trace(self) -> Generator[None]:
        """Have the span of a plain call continue the client's trace."""
        token = otel_context.attach(context_of(REQUEST_HEADERS.get()))
        try:
            yield
        finally:
            otel_context.detach(token)

    def close(self) -> None:
        """Write and send what is left. Blocks, for seconds at most."""
        if self._recorder is not None:
            self._recorder.close()
        if self._tracing is not None:
            self._tracing.close()


class RequestScope:
    """Records and traces one request, whether it is answered, fails or is cancelled: a context around the request."""

    def __init__(
        self,
        recorder: Recorder | None,
        tracing: Tracing | None,
        task: Task,
        chat: ChatRequest,
        account: Account,
        started_at: float,
    ) -> None:
        self._recorder = recorder
        self._tracing = tracing
        self._task = task
        self._chat = chat
        self._started_at = started_at
        self._id = request_id()
        self._account = account
        self._spans: RequestSpans | None = None
        self._fused: Fused | None = None

    @property
    def observers(self) -> Sequence[Observer]:
        """The observers of the request's events, besides the account."""
        return () if self._spans is None else (self._spans,)

    def answered(self, fused: Fused) -> None:
        """Note the request's result."""
        self._fused = fused

    def __enter__(self) -> RequestScope:
        if self._tracing is not None:
            self._spans = RequestSpans(self._tracing, self._task, REQUEST_HEADERS.get(), self._id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._spans is not None:
            self._spans.end(self._fused, error)
        if self._recorder is not None:
            self._recorder.record(self._finished(error))

    def _finished(self, error: BaseException | None) -> FusedRequest:
        took_s = asyncio.get_running_loop().time() - self._started_at
        convened_at = self._account.convened_at
        return FusedRequest(
            id=self._id,
            trace_id=self._spans and self._spans.trace_id,
            model=self._chat.model,
            streamed=self._chat.stream,
            task=self._task,
            arrived_at=time.time() - took_s,
            queued_ms=None if convened_at is None else (convened_at - self._started_at) * 1e3,
            took_ms=took_s * 1e3,
            account=self._account,
            fused=self._fused,
            failure=_failure(error),
        )


def _recorder(settings: RecordingSettings, name: str) -> Recorder:
    from deployments.recordings.recorder import Recorder

    recorder = Recorder(settings, name)
    Exporter({"": recorder}, family=RECORDINGS).start()
    return recorder


def _failure(error: BaseException | None) -> Failure | None:
    """What went wrong, None when it was the client that went away."""
    if isinstance(error, FusionError):
        return error.as_failure()
    if isinstance(error, Exception):
        return FusionError(f"an internal error ({type(error).__name__})").as_failure()
    return None
