"""One Ray and one Serve for all tests here, with three applications of the real composition root:

/        scripted members
/keyed   the same, behind API keys
/remote  remote members, whose upstream is the first application's own API
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
import yaml
from ray import serve

from cluster.config.loader import load
from cluster.serving.app import build
from tests.serve.scripted import SCRIPTED, scripted_deployment
from tests.support.ports import free_port

KEY = "sk-test-0123456789"
UPSTREAM_KEY = "sk-an-upstream-key"
_PANEL = ["four", "five", "six"]
_LIMITS: dict[str, Any] = {"unseeing": {"images": False}, "forgetful": {"context_tokens": 2000}}


@dataclass(frozen=True)
class Served:
    """Where the applications are."""

    port: int
    story: Callable[[str], dict[str, int]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def scripted_config(**server: Any) -> dict[str, Any]:
    """A configuration in which every scripted member is a remote one, to be stood in for."""
    policy = {"deadline_s": 20}
    return {
        "backends": {"scripted": {"kind": "remote", "api": "openai", "base_url": "http://127.0.0.1:9"}},
        "members": {name: {"backend": "scripted", "model": name, **_LIMITS.get(name, {})} for name in SCRIPTED},
        "presets": {
            "fusion/merge": {"mode": "merge", "panel": _PANEL, "judge": "writes", **policy},
            "fusion/best-of": {"mode": "best-of", "panel": _PANEL, "judge": "picks", **policy},
            "fusion/debate": {"mode": "debate", "panel": _PANEL, "judge": "writes", "rounds": 2, **policy},
        },
        "server": {"max_body_bytes": 100_000, **server},
    }


def remote_config(upstream: str) -> dict[str, Any]:
    """Members that are models of an OpenAI-compatible server, one of which never answers, and two at a dead port."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = closed.getsockname()[1]
    return {
        "backends": {
            "upstream": {
                "kind": "remote",
                "api": "openai",
                "base_url": f"{upstream}/v1",
                "api_key_env": "TEST_UPSTREAM_KEY",
            },
            "dead": {
                "kind": "remote",
                "api": "openai",
                "base_url": f"http://127.0.0.1:{dead}/v1",
                "retries": {"attempts": 1},
                "breaker": {"failures": 3, "cooldown_s": 600},
            },
            "stalling": {"kind": "remote", "base_url": f"{upstream}/v1", "timeouts": {"first_token_s": 30}},
        },
        "members": {
            **{name: {"backend": "upstream", "model": name} for name in ("four", "five", "picks", "writes", "tools")},
            "missing": {"backend": "upstream", "model": "no-such-model"},
            "dead": {"backend": "dead", "model": "four"},
            "healthy": {"backend": "upstream", "model": "slow"},
            "stalled": {"backend": "stalling", "model": "hangs"},
            "backed-up": {"backend": "dead", "model": "four", "fallbacks": ["priced"]},
            "priced": {
                "backend": "upstream",
                "model": "six",
                "price": {"input_per_mtok": 1.0, "output_per_mtok": 2.0},
            },
        },
        "presets": {
            "fusion/merge": {"mode": "merge", "panel": ["four", "five", "dead"], "judge": "writes", "deadline_s": 20},
            "fusion/best-of": {"mode": "best-of", "panel": ["four", "five"], "judge": "picks", "deadline_s": 20},
            "fusion/quorum-of-one": {
                "mode": "merge",
                "panel": ["dead", "stalled", "healthy"],
                "judge": "writes",
                "quorum": 1,
                "straggler_grace": 0.5,
            },
            "fusion/dead": {"mode": "merge", "panel": ["dead"], "judge": "writes"},
            "fusion/backed-up": {"mode": "merge", "panel": ["backed-up"], "judge": "writes"},
        },
    }


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("configs")
    os.environ["TEST_UPSTREAM_KEY"] = UPSTREAM_KEY
    os.environ["TEST_API_KEYS"] = f"sk-another-key,{KEY}"
    os.environ |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}
    os.environ["RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE"] = "1"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ray.init(
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
        num_cpus=8,
        _system_config={"metrics_report_interval_ms": 2000},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})

    def run(name: str, prefix: str, config: dict[str, Any], *, scripted: bool) -> None:
        path = _write(folder / f"{name}.yaml", config)
        loaded = load(path)
        deployment = scripted_deployment() if scripted else None
        members = dict.fromkeys(SCRIPTED, deployment) if deployment else None
        serve.run(build(loaded, members), name=name, route_prefix=prefix)

    run("scripted", "/", scripted_config(), scripted=True)
    run("keyed", "/keyed", scripted_config(api_keys_env="TEST_API_KEYS"), scripted=True)
    run("remote", "/remote", remote_config(url), scripted=False)
    stories = serve.get_deployment_handle("scripted", "scripted")
    yield Served(port, lambda member: stories.story.remote(member).result(timeout_s=10))
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def api(served: Served) -> Iterator[httpx.Client]:
    """A plain HTTP client of the scripted application."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


def ask(client: httpx.Client, model: str, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
    """One question."""
    body = {"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}], **more}
    return client.post(path, json=body)


def series(name: str, member: str) -> float | None:
    """What the node exports of a metric of ours for a member, all replicas together; None when nothing."""
    port = ray.nodes()[0]["MetricsExportPort"]
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines()
    found = [line for line in lines if line.startswith(f"ray_{name}{{") and f'member="{member}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found) if found else None


def _write(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
