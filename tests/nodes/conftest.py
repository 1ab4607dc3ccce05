"""Two Ray nodes, and one application of the real composition root on them.

`split` is one engine in two shards, which have to be on different nodes; `whole` is the same model in one piece, in two
replicas.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster

from cluster.config.schema import ClusterConfig
from cluster.serving.app import build
from tests.nodes import mixtral
from tests.support.ports import free_port

_START_TIMEOUT_S = 900
# Ray gives a node seconds to start, and an engine's neighbours may take both cores for longer.
_PATIENCE = {"RAY_raylet_start_wait_time_s": "120", "RAY_agent_register_timeout_ms": "120000"}
_ENGINE = {**mixtral.ENGINE, "dtype": "float32", "enforce_eager": True, "max_num_seqs": 16}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(_START_TIMEOUT_S))


@dataclass(frozen=True)
class Nodes:
    """Where the application's API is, and what runs on which node."""

    url: str

    def of(self, actor_class: str) -> list[str]:
        """The node of each living actor of a class."""
        known = ray._private.state.actors().values()  # the public way wants Ray's dashboard
        return [
            actor["Address"]["NodeID"]
            for actor in known
            if actor["ActorClassName"] == actor_class and actor["State"] == "ALIVE"
        ]


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("mixtral")
    subprocess.run([sys.executable, "-m", mixtral.__name__, str(folder)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        # A cluster writes down where it is for whoever looks for one; nobody else should find this one. The names of
        # its sockets have to be short.
        ray_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        for name, value in {**_PATIENCE, "RAY_TMPDIR": ray_folder}.items():
            patch.setenv(name, value)
        two = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 3, "include_dashboard": False, "dashboard_port": free_port()},
        )
        try:
            two.add_node(num_cpus=3)
            yield from _served(two.address, str(folder))
        finally:
            two.shutdown()
            shutil.rmtree(ray_folder, ignore_errors=True)


def _served(address: str, model: str) -> Iterator[Nodes]:
    port = free_port()
    ray.init(address=address, logging_level="error", log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(_config(model)), name="fusion")
        yield Nodes(f"http://127.0.0.1:{port}")
    finally:
        serve.shutdown()
        ray.shutdown()


def _config(model: str) -> ClusterConfig:
    common: dict[str, Any] = {
        "kind": "vllm",
        "model": model,
        "accelerator": "cpu",
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    }
    shards = {"tensor_parallel_size": 2}
    return ClusterConfig.model_validate(
        {
            "backends": {
                "split": {**common, "engine": {**_ENGINE, **shards}, "placement": {"strategy": "STRICT_SPREAD"}},
                "whole": {**common, "engine": _ENGINE, "replicas": {"min": 2, "max": 2}},
            },
            "members": {
                "split": {"backend": "split"},
                "whole": {"backend": "whole"},
                "other": {"backend": "whole", "system": "Speak of the sea alone."},
            },
            "presets": {
                "fusion/merge": {"mode": "merge", "panel": ["split", "other"], "judge": "split", "quorum": 2},
                "fusion/best-of": {"mode": "best-of", "panel": ["split", "other"], "judge": "split", "quorum": 2},
            },
        }
    )
