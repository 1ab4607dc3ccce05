"""Makes the spans of one process and exports them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deployments.observability.tracing.settings import TracingSettings
from fusion.errors import FusionError

Attributes = Mapping[str, Any]


Headers = Sequence[tuple[str, str]]


_W3C = TraceContextTextMapPropagator()


_W3C_HEADERS = frozenset({b"traceparent", b"tracestate"})


class Tracing:
    """Makes spans and exports them in batches from a thread; spans that a collector does not accept in time are
    dropped. It does not touch OpenTelemetry's global provider. `instance` is the replica's name, which no other has."""

    def __init__(self, settings: TracingSettings, instance: str) -> None:
        self.settings = settings
        headers = {} if settings.headers is None else _headers(settings.headers.read())
        resource = Resource.create(
            {
                **settings.resource,
                "service.name": settings.service_name,
                "service.version": version("fusion-cluster"),
                "service.instance.id": instance,
            }
        )
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(settings.sample)), resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, headers=headers, timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("fusion-cluster", version("fusion-cluster"))

    def begin(self, name: str, kind: SpanKind, attributes: Attributes, parent: Context | None = None) -> Span:
        """Starts a span below `parent`, by default the current span. Attributes that are None are left out."""
        return self._tracer.start_span(name, parent, kind, _without_none(attributes))

    @contextmanager
    def span(self, name: str, kind: SpanKind, attributes: Attributes, parent: Context | None = None) -> Generator[Span]:
        """Runs the block in a span of its own, which is the current one meanwhile. Of an error the span has the code,
        never the message: that may hold what must not leave the service."""
        span = self.begin(name, kind, attributes, parent)
        token = otel_context.attach(set_span_in_context(span, parent))
        try:
            yield span
        except BaseException as error:
            mark_failed(span, error)
            raise
        finally:
            otel_context.detach(token)
            span.end()

    def close(self) -> None:
        """Exports the remaining spans. Blocks for a few seconds at most."""
        self._provider.shutdown()


def mark_failed(span: Span, error: BaseException) -> None:
    """Marks a span as failed, or as cancelled."""
    if isinstance(error, FusionError):
        span.set_attribute("error.type", error.code)
        span.set_status(Status(StatusCode.ERROR, error.code))
    elif isinstance(error, Exception):
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
    set_attributes(span, {"fusion.outcome": "failed" if isinstance(error, Exception) else "cancelled"})


def set_attributes(span: Span, attributes: Attributes) -> None:
    """Sets attributes, except those that are None."""
    span.set_attributes(_without_none(attributes))


def trace_headers() -> tuple[tuple[str, str], ...]:
    """Returns the current span as W3C trace context headers."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return tuple(carrier.items())


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """Returns the context of the client's trace, an empty one when it sent none that is valid."""
    return context_from({name.decode(): value.decode("latin-1") for name, value in headers if name in _W3C_HEADERS})


def context_from(headers: Mapping[str, str]) -> Context:
    """Returns the same for decoded headers."""
    return _W3C.extract(headers, Context())


def _without_none(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _headers(text: str) -> dict[str, str]:
    """Parses headers as OTEL_EXPORTER_OTLP_HEADERS has them: `name=value,name=value`, values percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
