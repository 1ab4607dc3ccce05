"""The spans of one fused request: the request, its rounds, and its judging. The calls below them are `Traced`'s."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, format_trace_id, set_span_in_context

from deployments.observability.tracing import attributes
from deployments.observability.tracing.provider import Tracing, context_of, mark_failed, set_attributes
from fusion.presets import Task
from fusion.progress import CandidateEnded, JudgeAsked, JudgeEnded, PanelConvened, Progress
from fusion.results import Fused

_AHEAD = "prefill"


class RequestSpans:
    """An observer that has a span begin and end with what it is told of, and makes it the current one for the calls
    that follow. `headers` are the client's, whose trace is continued."""

    def __init__(self, tracing: Tracing, task: Task, headers: Iterable[tuple[bytes, bytes]], request_id: str) -> None:
        self._tracing = tracing
        about = attributes.of_task(task)
        about |= {"fusion.request_id": request_id, "http.request.method": "POST", "http.route": "/v1/chat/completions"}
        if tracing.settings.content:
            about |= attributes.prompt(task.request)
        name = f"invoke_workflow {task.preset.name}"
        self._root = tracing.begin(name, SpanKind.SERVER, about, context_of(headers))
        self._below_root: Context = set_span_in_context(self._root)
        self._panel: Span | None = None
        self._judging: Span | None = None
        self._missing: set[str] = set()
        self._answered = 0
        self._token: Token[Context] = otel_context.attach(self._below_root)

    @property
    def trace_id(self) -> str:
        return format_trace_id(self._root.get_span_context().trace_id)

    def on_event(self, event: Progress | JudgeEnded) -> None:
        match event:
            case PanelConvened(members, number):
                self._end_judging()
                self._missing, self._answered = set(members), 0
                name = "panel" if number == 0 else "rebuttal"
                about = {"fusion.round": number, "fusion.panel": members}
                self._panel = self._below(name, about)
            case CandidateEnded(candidate):
                self._missing.discard(candidate.member)
                self._answered += candidate.status == "answered"
                if not self._missing:
                    self._end_panel()
            case JudgeAsked(stage=stage) if stage != _AHEAD:
                if self._judging is None:
                    self._judging = self._below("judge", {})
                otel_context.attach(set_span_in_context(self._judging))
            case _:
                pass

    def end(self, fused: Fused | None, error: BaseException | None) -> None:
        """The request is over, with a result or an error."""
        self._end_panel()
        if fused is not None:
            set_attributes(self._root, attributes.of_fused(fused))
            if self._judging is not None:
                set_attributes(self._judging, attributes.of_decision(fused))
            if self._tracing.settings.content:
                set_attributes(self._root, attributes.answer(fused.completion))
        elif error is not None:
            mark_failed(self._root, error)
        self._end_judging()
        self._root.end()
        otel_context.detach(self._token)

    def _below(self, name: str, about: dict[str, Any]) -> Span:
        span = self._tracing.begin(name, SpanKind.INTERNAL, about, self._below_root)
        otel_context.attach(set_span_in_context(span))
        return span

    def _end_panel(self) -> None:
        if self._panel is not None:
            self._panel.set_attribute("fusion.answered", self._answered)
            self._panel.end()
            self._panel = None

    def _end_judging(self) -> None:
        if self._judging is not None:
            self._judging.end()
            self._judging = None
