"""A collector of OpenTelemetry's: takes spans over OTLP/HTTP, as the wire has them, and tells what it was sent."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_S = 20.0


@dataclass(frozen=True)
class SentSpan:
    """A span as it was sent; ids in hex, attributes as plain values."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    failed: bool
    took_ms: float
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """Everything that came."""

    url: str = ""
    spans: list[SentSpan] = field(default_factory=list[SentSpan])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    raw: bytes = b""

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.headers.append(headers)
        body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        self.raw += body
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _plain(resource_spans.resource.attributes)
            for scope in resource_spans.scope_spans:
                self.spans += [_sent(span, resource) for span in scope.spans]

    def until(self, enough: Callable[[list[SentSpan]], object]) -> list[SentSpan]:
        """What came once it is enough."""
        ends_at = time.monotonic() + PATIENCE_S
        while not enough(self.spans):
            assert time.monotonic() < ends_at, [span.name for span in self.spans]
            time.sleep(0.05)
        return list(self.spans)


def tree(spans: list[SentSpan], parent_id: str) -> list[Any]:
    """The spans below one, by name, each with those below it where there are any."""
    below = sorted((span for span in spans if span.parent_id == parent_id), key=lambda span: span.name)
    return [(span.name, inner) if (inner := tree(spans, span.span_id)) else span.name for span in below]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on the loopback address."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_KINDS = {1: "internal", 2: "server", 3: "client"}


def _sent(span: Any, resource: dict[str, Any]) -> SentSpan:
    return SentSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _KINDS[span.kind],
        span.status.code == 2,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
        _plain(span.attributes),
        resource,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
