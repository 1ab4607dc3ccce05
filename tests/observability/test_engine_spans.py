"""An engine's spans in a client's trace."""

from __future__ import annotations

from tests.observability.conftest import Observed
from tests.observability.load import CLIENTS, ENGINE_AT_ONCE
from tests.support.collector import SentSpan


def test_an_engines_spans_are_below_the_calls_that_it_answers(observed: Observed) -> None:
    _, trace_id, _, _ = CLIENTS.split("-")

    def of_the_client(spans: list[SentSpan], name: str) -> list[SentSpan]:
        return [span for span in spans if span.name.startswith(name) and span.trace_id == trace_id]

    asked = ENGINE_AT_ONCE + 2
    spans = observed.collector.until(
        lambda spans: len(of_the_client(spans, "llm_request")) >= asked <= len(of_the_client(spans, "chat "))
    )
    calls = {span.span_id for span in of_the_client(spans, "chat ")}
    assert sorted(span.parent_id for span in of_the_client(spans, "llm_request")) == sorted(calls)
