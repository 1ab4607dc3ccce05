"""What is left of fused requests in the trace folder of a running application."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from ray import serve

from cluster.app import build
from cluster.config_file import load
from tests.serve.conftest import Served, ask, scripted_config
from tests.serve.scripted import SCRIPTED, scripted_deployment

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Traced:
    """An application that records in `folder`."""

    api: httpx.Client
    folder: Path
    redeploy: Callable[[], None]


@pytest.fixture(scope="module")
def traced(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traces")
    path = folder / "config.yaml"
    config = scripted_config() | {"traces": {"path": str(folder / "kept"), "content": "full"}}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    loaded = load(path)

    def deploy() -> None:
        members = dict.fromkeys(SCRIPTED, scripted_deployment(loaded.profiles()))
        serve.run(build(loaded, members), name="traced", route_prefix="/traced")

    deploy()
    with httpx.Client(base_url=f"{served.url}/traced", timeout=30) as client:
        yield Traced(client, folder / "kept", deploy)
    serve.delete("traced")


def until_there(found: Callable[[], object]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < ends_at, "it never came"
        time.sleep(0.1)


def segments(folder: Path) -> list[Path]:
    return list(folder.glob("day=*/.*.arrows"))


def finished(folder: Path) -> list[Path]:
    return list(folder.glob("day=*/*.parquet"))


def test_a_killed_replica_loses_nothing_that_is_a_second_old(traced: Traced) -> None:
    body = ask(traced.api, "fusion/best-of", path="v1/chat/completions", fusion={"quorum": 3})
    body.raise_for_status()
    failed = ask(traced.api, "fusion/merge", path="v1/chat/completions", fusion={"panel": ["fails"]})
    assert failed.status_code == 502
    time.sleep(1.0)
    _writer_of(traced.folder).kill()
    until_there(lambda: finished(traced.folder))

    (file,) = finished(traced.folder)
    first, second = pq.read_table(file).to_pylist()
    assert first["request_id"] == body.headers["x-request-id"]
    assert (first["outcome"], first["winner"], first["mode"]) == ("answered", "four", "best-of")
    assert [candidate["content"] for candidate in first["candidates"]] == ["It is four.", "It is five.", "Perhaps six."]
    assert first["verdicts"][0]["reason"] == "four is right"
    assert (second["outcome"], second["error_code"]) == ("failed", "no_quorum")
    assert second["candidates"][0]["error_code"] == "unavailable"


def _writer_of(folder: Path) -> psutil.Process:
    """The replica that has the folder's segment open."""
    (segment,) = segments(folder)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(file.path == str(segment) for file in process.open_files()):
                return process
    raise AssertionError("nobody writes")
