"""One Ray, one Serve and one engine for all tests here, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import serve

from cluster.serving.embedded_model import default_cache_dir, prepare
from tests.vllm.engines import CONTEXT_TOKENS, Engine, serve_engine

_START_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(_START_TIMEOUT_S))


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    ours = not ray.is_initialized()
    if ours:
        ray.init(address="local", include_dashboard=False, logging_level="error", log_to_driver=False, num_cpus=4)
        serve.start(proxy_location="Disabled")
    yield
    if ours:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="session")
def smollm2(cluster: None) -> Iterator[Engine]:
    """SmolLM2-135M-Instruct. Its replica runs its code on its own loop, as in a cluster tuned for throughput."""
    model = prepare(default_cache_dir(), print)
    yield serve_engine(
        "smollm2",
        str(model),
        {"max_model_len": CONTEXT_TOKENS, "enable_auto_tool_choice": True, "tool_call_parser": "hermes"},
        {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"},
    )
    serve.delete("smollm2")
