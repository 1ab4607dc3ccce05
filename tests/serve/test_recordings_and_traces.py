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

from cluster.config.loader import load
from cluster.serving.app import backend_deployments, build
from tests.serve.conftest import Served, ask, scripted_config
from tests.serve.scripted import SCRIPTED, scripted_deployment
from tests.support.collector import Collector, SentSpan, collecting, tree

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Traced:
    """An application that records in `folder`."""

    api: httpx.Client
    folder: Path
    collector: Collector


@pytest.fixture(scope="module")
def traced(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("recordings")
    path = folder / "config.yaml"
    with collecting() as collector:
        config = scripted_config()
        config["backends"]["api"] = {"kind": "remote", "base_url": f"{served.url}/v1"}
        config["members"]["far"] = {"backend": "api", "model": "four"}
        config["recordings"] = {"path": str(folder / "kept"), "content": "full"}
        config["tracing"] = {"endpoint": collector.url}
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        loaded = load(path)
        far = backend_deployments(loaded, {})["api"]
        members = {**dict.fromkeys(SCRIPTED, scripted_deployment()), "far": far}
        serve.run(build(loaded, members), name="traced", route_prefix="/traced")
        with httpx.Client(base_url=f"{served.url}/traced", timeout=30) as client:
            yield Traced(client, folder / "kept", collector)
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


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_one_trace_from_the_client_to_the_providers(traced: Traced, stream: bool) -> None:
    trace_id = f"0af7651916cd43dd8448eb211c8031{stream:02}"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    body = {
        "model": "fusion/merge",
        "messages": [{"role": "user", "content": "What is 2 + 2?"}],
        "fusion": {"panel": ["far", "five"], "quorum": 2},
        "stream": stream,
    }
    answered = traced.api.post("v1/chat/completions", json=body, headers=headers).raise_for_status()
    request_id = answered.headers["x-request-id"]

    def of_request() -> list[SentSpan]:
        return [span for span in traced.collector.spans if span.trace_id == trace_id]

    until_there(lambda: {"invoke_workflow fusion/merge", "POST"} <= {span.name for span in of_request()})
    panel = ("panel", ["chat five", ("chat four", ["POST"])])
    judge = ("judge", ["chat writes"])
    assert tree(of_request(), "b7ad6b7169203331") == [("invoke_workflow fusion/merge", [judge, panel])]
    by_name = {span.name: span for span in of_request()}
    assert by_name["invoke_workflow fusion/merge"].attributes["fusion.request_id"] == request_id
    assert ("gen_ai.response.time_to_first_chunk" in by_name["chat writes"].attributes) == stream
    assert by_name["POST"].resource["service.instance.id"] != by_name["chat four"].resource["service.instance.id"]


def test_a_plain_call_continues_the_clients_trace(traced: Traced) -> None:
    trace_id = "0af7651916cd43dd8448eb211c803199"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    body = {"model": "five", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
    traced.api.post("v1/chat/completions", json=body, headers=headers).raise_for_status()
    until_there(lambda: any(span.trace_id == trace_id for span in traced.collector.spans))
    (span,) = (span for span in traced.collector.spans if span.trace_id == trace_id)
    assert (span.name, span.parent_id) == ("chat five", "b7ad6b7169203331")


def test_a_killed_replica_loses_nothing_that_is_a_second_old(traced: Traced) -> None:
    body = ask(traced.api, "fusion/best-of", path="v1/chat/completions", fusion={"quorum": 3})
    body.raise_for_status()
    failed = ask(traced.api, "fusion/merge", path="v1/chat/completions", fusion={"panel": ["fails"]})
    assert failed.status_code == 502
    time.sleep(1.0)
    _writer_of(traced.folder).kill()
    until_there(lambda: finished(traced.folder))

    (file,) = finished(traced.folder)
    *_, first, second = pq.read_table(file).to_pylist()
    assert first["trace_id"] in {span.trace_id for span in traced.collector.spans}
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
