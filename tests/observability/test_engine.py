"""A real engine's own metrics in the real Prometheus, and its spans in a client's trace."""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from tests.observability.prometheus import Prometheus
from tests.serve.conftest import free_port
from tests.serve.test_lifecycle import serving
from tests.support.collector import Collector, SentSpan, collecting
from tests.support.queries import of_panels

CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT_ONCE = 4
QUESTION = "Tell me a long story of a city by the sea, of its harbour and its ships, and of whoever lives there. " * 4

pytestmark = pytest.mark.timeout(900)  # an engine has to start


@dataclass(frozen=True)
class Observed:
    """What a service with an engine shows of itself after some load."""

    prometheus: Prometheus
    collector: Collector


def _config(port: int, endpoint: str) -> dict[str, Any]:
    """An engine with room for few sequences, so that some wait and some are put back."""
    engine = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 256,
        "max_num_seqs": AT_ONCE - 1,
        "block_size": 32,
        "num_gpu_blocks_override": 17,
        "otlp_traces_endpoint": endpoint,
    }
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    return {
        "backends": {
            "smollm2": {
                "kind": "vllm",
                "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
                "accelerator": "cpu",
                "engine": engine,
                "env": env,
            }
        },
        "members": {"ada": {"backend": "smollm2", "temperature": 0.0, "max_tokens": 48}},
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["ada"], "judge": "ada"}},
        "server": {"port": port},
        "tracing": {"endpoint": endpoint},
    }


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Observed]:
    folder = tmp_path_factory.mktemp("engine")
    port, metrics_port = free_port(), free_port()
    file = folder / "config.yaml"
    with collecting() as collector:
        file.write_text(yaml.safe_dump(_config(port, collector.url)))
        with serving(file, folder / "stderr", "--metrics", "--metrics-port", str(metrics_port)):
            prometheus = Prometheus(f"http://127.0.0.1:{metrics_port}")
            _ask(port, *range(AT_ONCE))
            _ask(port, 0)
            assert prometheus.ask_until_data("ray_vllm_request_success_total", 60)
            _ask(port, 0)  # a rate needs a second sample that has grown
            yield Observed(prometheus, collector)


def _ask(port: int, *numbers: int) -> None:
    """Questions at once, each in the same trace of the client's. A number asked again is the same question."""

    def ask(number: int) -> int:
        body = {"model": "ada", "messages": [{"role": "user", "content": f"{number}. {QUESTION}"}]}
        return client.post("/chat/completions", json=body, headers={"traceparent": CLIENTS}).status_code

    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=120, trust_env=False) as client,
        ThreadPoolExecutor(len(numbers)) as threads,
    ):
        assert {*threads.map(ask, numbers)} == {200}


def test_every_panel_of_engines_shows_what_the_load_made(observed: Observed) -> None:
    wanted = [(where, query) for where, query in of_panels() if where.startswith("fusion-engines: ")]
    empty = [where for where, query in wanted if not observed.prometheus.ask_until_data(query, 30)]
    assert empty == [], json.dumps(empty, indent=1)


def test_an_engines_spans_are_below_the_calls_that_it_answers(observed: Observed) -> None:
    _, trace_id, _, _ = CLIENTS.split("-")

    def of_the_client(spans: list[SentSpan], name: str) -> list[SentSpan]:
        return [span for span in spans if span.name.startswith(name) and span.trace_id == trace_id]

    asked = AT_ONCE + 2
    spans = observed.collector.until(
        lambda spans: len(of_the_client(spans, "llm_request")) >= asked <= len(of_the_client(spans, "chat "))
    )
    calls = {span.span_id for span in of_the_client(spans, "chat ")}
    assert sorted(span.parent_id for span in of_the_client(spans, "llm_request")) == sorted(calls)
