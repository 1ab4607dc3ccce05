"""`fusion rejudge` with a judge model at its API, and with one of a running service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.main import app
from deployments.api.chat_request import parse_chat
from fusion.chat import Call
from fusion.testing import Answer, ScriptedMember
from tests.support.panels import favouring
from tests.support.recorded import fused_request, recorded


class _Api(BaseHTTPRequestHandler):
    """Favours the answer that says five."""

    heard: list[tuple[str | None, dict[str, Any]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append((self.headers["authorization"], json.loads(body)))
        if self.headers["authorization"] != "Bearer sk-judge":
            return self._send(401, {"error": {"message": "no", "type": "authentication_error", "code": "no_key"}})
        said = favouring("five").of(Call("", parse_chat(body).request, 1.0))
        choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        self._send(200, {"choices": [choice], "usage": {"prompt_tokens": 1000, "completion_tokens": 10}})

    def _send(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def api() -> Iterator[tuple[str, list[tuple[str | None, dict[str, Any]]]]]:
    handler = type("Api", (_Api,), {"heard": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.heard
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    members = {
        "ada": ScriptedMember(Answer("It is four.")),
        "bob": ScriptedMember(Answer("It is five.")),
        "judge": ScriptedMember(favouring("four")),
    }

    async def requests() -> list[Any]:
        return [await fused_request(members, name=f"r{number}", seed=number) for number in range(3)]

    recorded(tmp_path / "kept", asyncio.run(requests()))
    return tmp_path / "kept"


@pytest.fixture
def config(api: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    file = tmp_path / "config.yaml"
    backends = {
        "api": {"kind": "remote", "base_url": f"{api[0]}/v1", "api_key_env": "JUDGE_KEY"},
        "own": {"kind": "vllm", "model": "m", "accelerator": "cpu"},
    }
    price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
    members = {
        "arbiter": {"backend": "api", "model": "arbiter-1", "system": "Be a pirate.", "price": price},
        "engine": {"backend": "own"},
    }
    presets = {"fusion/best-of": {"mode": "best-of", "panel": ["arbiter"], "judge": "arbiter"}}
    file.write_text(yaml.safe_dump({"backends": backends, "members": members, "presets": presets}))
    return file


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["rejudge", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_remote_judge_is_asked_at_its_api(folder: Path, config: Path, api: tuple[str, Any]) -> None:
    said = json.loads(run("--recordings", folder, "-c", config, "--judge", "arbiter", "--json").stdout)
    assert (said["requests"], said["compared"], said["agreed"], said["agreement"]) == (3, 3, 0, 0.0)
    assert said["wins"] == {"bob": {"old": 0, "new": 3}, "ada": {"old": 3, "new": 0}}
    assert said["judge_cost_usd"]["new"] == pytest.approx(3 * (1000 + 20) / 1e6)
    assert said["median_judge_ms"]["new"] > 0
    asked = api[1]
    assert {body["model"] for _, body in asked} == {"arbiter-1"}
    assert "pirate" not in json.dumps([body for _, body in asked])  # its own voice stays out when it judges
    results = pq.read_table(said["results"]).to_pylist()
    assert [(row["request_id"], row["winner"], row["agrees"]) for row in results] == [
        (f"r{number}", "bob", False) for number in range(3)
    ]


def test_the_comparison_is_shown(folder: Path, config: Path, tmp_path: Path, api: tuple[str, Any]) -> None:
    guidance = tmp_path / "guidance.txt"
    guidance.write_text("Odd numbers are better.\n")
    target = tmp_path / "out.parquet"
    result = run("--recordings", folder, "-c", config, "-j", "arbiter", "-n", 2, "-o", target, "--prompt", guidance)
    assert "the same winner in 0 of 2 verdicts (0%)" in result.stdout
    assert pq.read_table(target).num_rows == 2
    assert api[1][0][1]["messages"][0]["content"].startswith("Odd numbers are better.\n\n")


def test_a_judge_of_a_running_service_is_asked_by_its_name(
    folder: Path, api: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSION_API_KEY", "sk-judge")
    said = json.loads(run("--recordings", folder, "--url", api[0], "--judge", "engine", "--json").stdout)
    assert said["wins"]["bob"]["new"] == 3
    assert said["judge_cost_usd"]["new"] is None  # nobody said what it costs
    assert {body["model"] for _, body in api[1]} == {"engine"}


def test_a_judge_that_refuses_is_reported(folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-wrong")
    result = run("--recordings", folder, "-c", config, "--judge", "arbiter", code=1)
    assert "no decision for 3: judge_failed: arbiter (unauthorized)" in result.stdout
    assert "no request could be decided" in result.stderr
    assert "sk-wrong" not in result.output


def test_what_cannot_be_asked_is_said(folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = run("--recordings", folder, "-c", config, "--judge", "nobody", code=1)
    assert "there is no member 'nobody' in the configuration; known are arbiter, engine" in unknown.stderr
    engine = run("--recordings", folder, "-c", config, "--judge", "engine", code=1)
    assert "start `fusion serve`, and give its address with --url" in engine.stderr
    monkeypatch.delenv("JUDGE_KEY")
    assert "JUDGE_KEY is unset" in run("--recordings", folder, "-c", config, "--judge", "arbiter", code=1).stderr
