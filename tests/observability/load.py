"""The configuration of the observed service, and the load that has every panel show something."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx

from tests.observability.upstream import STALLS_AFTER

AT_ONCE = 12
ENGINE_AT_ONCE = 4
CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The trace context of whoever asks the engine."""
QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
LONG = "Tell me a long story of a city by the sea, of its harbour and its ships, and of whoever lives there. " * 4
STATUSES = (200, 429, 502, 503)


def config(url: str, port: int, folder: Path, collector: str) -> dict[str, Any]:
    """Remote members at `url`, and one on an engine that sends its spans to `collector`."""
    price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
    backend = {"kind": "remote", "base_url": url}
    breaking = {**backend, "retries": {"attempts": 2}, "breaker": {"failures": 3, "cooldown_s": 600}}
    panel = {"panel": ["four", "five", "eve", "fails"], "quorum": 3, "deadline_s": 20, "agreement": {"short": False}}
    return {
        "backends": {
            "good": backend,
            "bad": breaking,
            "unsteady": {**backend, "breaker": {"failures": 1000}},
            "narrow": {**backend, "limits": {"concurrency": 1, "max_queued": 1}},
            "smollm2": _engine(collector),
        },
        "members": {
            **{name: {"backend": "good", "model": name, "price": price} for name in ("four", "five", "eve")},
            **{name: {"backend": "good", "model": name, "price": price} for name in ("picks", "writes")},
            "fails": {"backend": "bad", "model": "fails"},
            "backed-up": {"backend": "bad", "model": "fails", "fallbacks": ["four"]},
            "stumbles": {"backend": "unsteady", "model": "stumbles"},
            "stalls": {"backend": "unsteady", "model": "stalls", "hedge": "four"},
            "dozes": {"backend": "good", "model": "dozes"},
            "narrow": {"backend": "narrow", "model": "dozes"},
            "ada": {"backend": "smollm2", "temperature": 0.0, "max_tokens": 48},
        },
        "presets": {
            "fusion/best-of": {"mode": "best-of", "judge": ["writes", "picks"], **panel},
            "fusion/merge": {"mode": "merge", "judge": "writes", **panel},
            "fusion/agree": {"mode": "merge", "panel": ["four", "backed-up"], "quorum": 2, "judge": "writes"},
            "fusion/none": {"mode": "merge", "panel": ["fails"], "judge": "writes"},
        },
        "server": {"port": port},
        "judge": {"max_ongoing": AT_ONCE // 2, "max_queued": 1},
        "recordings": {"path": str(folder / "recordings")},
        "tracing": {"endpoint": collector},
    }


def _engine(collector: str) -> dict[str, Any]:
    """One with room for few sequences, so that some wait and some are put back."""
    return {
        "kind": "vllm",
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "accelerator": "cpu",
        "engine": {
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 256,
            "max_num_seqs": ENGINE_AT_ONCE - 1,
            "block_size": 32,
            "num_gpu_blocks_override": 17,
            "otlp_traces_endpoint": collector,
        },
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    }


def on_panels(port: int) -> None:
    """Verdicts in two orders that disagree, from a judge's deputy; streams; agreement; stand-ins; a breaker that opens;
    no quorum; repetitions, until their budget is used up; a second call that wins; and more at once than a member and
    a judge take."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=30, trust_env=False) as client:
        for _ in range(4):
            for model in ("fusion/best-of", "fusion/merge", "fusion/agree", "fusion/none", "four"):
                for stream in (False, True):
                    body = {"model": model, "messages": QUESTION, "stream": stream}
                    assert client.post("/chat/completions", json=body).status_code in STATUSES, model

        def ask(model: str) -> int:
            return client.post("/chat/completions", json={"model": model, "messages": QUESTION}).status_code

        asked = [ask(model) for model in ("stumbles", "stalls") for _ in range(STALLS_AFTER + 1)]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for model in ("narrow", "dozes"):
                asked += threads.map(ask, [model] * AT_ONCE)
        assert {*asked} <= {*STATUSES}


def on_the_engine(port: int, *numbers: int, trace: str | None = CLIENTS) -> None:
    """Questions at once, all in one trace of the client's. A number asked again is the same question. Without a trace
    some may be refused."""

    def ask(number: int) -> int:
        body = {"model": "ada", "messages": [{"role": "user", "content": f"{number}. {LONG}"}]}
        headers = {} if trace is None else {"traceparent": trace}
        return client.post("/chat/completions", json=body, headers=headers).status_code

    expected = {*STATUSES} if trace is None else {200}
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=120, trust_env=False) as client,
        ThreadPoolExecutor(len(numbers)) as threads,
    ):
        assert {*threads.map(ask, numbers)} <= expected


@contextmanager
def kept_up(port: int) -> Generator[None]:
    """Put all of the load on the service again and again until the end of the context: ratios of rates have no value,
    and an engine's gauges are not exported, while nothing is asked."""
    over = Event()

    def repeat(ask: Callable[[], None]) -> None:
        while not over.is_set():
            ask()

    loads = (lambda: on_panels(port), lambda: on_the_engine(port, *range(ENGINE_AT_ONCE), trace=None))
    with ThreadPoolExecutor(len(loads)) as threads:
        asking = [threads.submit(repeat, load) for load in loads]
        try:
            yield
        finally:
            over.set()
        for each in asking:
            each.result()
