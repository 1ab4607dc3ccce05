"""Spans of one process: how they are made, and where they go."""

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
    """Makes spans and sends them in batches from a thread; what a collector cannot take in time is dropped. It is this
    service's own, beside whatever else in the process uses OpenTelemetry. `instance` tells the replica from others."""

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
        """A span that began now, under the current one unless a parent is given. Its attributes may be None, which
        leaves them out."""
        return self._tracer.start_span(name, parent, kind, _known(attributes))

    @contextmanager
    def span(self, name: str, kind: SpanKind, attributes: Attributes, parent: Context | None = None) -> Generator[Span]:
        """A span around what is done, which is the current one meanwhile. An error is named by its code: its words stay
        out, for they may hold what must not be told."""
        span = self.begin(name, kind, attributes, parent)
        token = otel_context.attach(set_span_in_context(span, parent))
        try:
            yield span
        except BaseException as error:
            blame(span, error)
            raise
        finally:
            otel_context.detach(token)
            span.end()

    def close(self) -> None:
        """Send what has not been sent. Blocks, for seconds at most."""
        self._provider.shutdown()


def blame(span: Span, error: BaseException) -> None:
    """Mark a span as failed, unless its work was cancelled."""
    if isinstance(error, FusionError):
        span.set_attribute("error.type", error.code)
        span.set_status(Status(StatusCode.ERROR, error.code))
    elif isinstance(error, Exception):
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
    tell(span, {"fusion.outcome": "failed" if isinstance(error, Exception) else "cancelled"})


def tell(span: Span, attributes: Attributes) -> None:
    """Add attributes, without those that are None."""
    span.set_attributes(_known(attributes))


def trace_headers() -> tuple[tuple[str, str], ...]:
    """The current span as W3C's headers."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return tuple(carrier.items())


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The client's trace, or an empty context where it sent none that can be understood."""
    return context_from({name.decode(): value.decode("latin-1") for name, value in headers if name in _W3C_HEADERS})


def context_from(headers: Mapping[str, str]) -> Context:
    """The same from headers as text."""
    return _W3C.extract(headers, Context())


def _known(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _headers(text: str) -> dict[str, str]:
    """Headers as OTEL_EXPORTER_OTLP_HEADERS has them: `name=value,name=value`, values percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
