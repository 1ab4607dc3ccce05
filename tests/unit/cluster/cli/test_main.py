"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app

FUSION = {
    "mode": "best-of",
    "judge": "arbiter",
    "verdict": {"winner": "ada"},
    "timings_ms": {"total": 1500.0},
    "overhead_vs_slowest_member": 0.25,
    "cost_usd": None,
    "degraded": None,
}
EVENTS: list[dict[str, Any]] = [
    {"choices": [], "fusion": {"event": {"type": "panel_convened", "round": 0, "members": ["ada", "bob"]}}},
    {"choices": [], "fusion": {"event": {"type": "candidate_delta", "member": "ada", "delta": {"content": "fo"}}}},
    {
        "choices": [],
        "fusion": {
            "event": {
                "type": "candidate_ended",
                "candidate": {"member": "ada", "status": "answered", "latency_ms": 9.0, "content": "four"},
            }
        },
    },
    {"choices": [], "fusion": {"event": {"type": "judge_asked", "judge": "arbiter"}}},
    {"choices": [], "fusion": {"event": {"type": "from_the_future"}}},
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "It is "}}]},
    {"choices": [{"delta": {"content": "four."}}]},
    {"choices": [], "fusion": FUSION},
]


class _Service(BaseHTTPRequestHandler):
    """A service that replays what a real one said."""

    asked: list[dict[str, Any]]
    keys: list[str | None]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append(body)
        type(self).keys.append(self.headers["authorization"])
        if body["model"] == "fusion/none":
            return self._send(404, json.dumps({"error": {"message": "there is no model 'fusion/none'"}}))
        if not body.get("stream"):
            return self._send(200, json.dumps({"choices": [{"message": {"content": "four"}}], "fusion": FUSION}))
        events = [*EVENTS[:6], {"error": {"message": "broke off"}}] if body["model"] == "fusion/breaks" else EVENTS
        content = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self._send(200, content, "text/event-stream")

    def do_GET(self) -> None:
        ready = {"ready": True, "members": {"ada": {"ready": True}}, "presets": {"fusion/merge": {"ready": False}}}
        preset = {"kind": "preset", "mode": "merge", "panel": ["ada"], "judges": ["ada"]}
        models = [
            {"id": "fusion/merge", "fusion": preset},
            {"id": "ada", "fusion": {"kind": "member", "backend": "engine", "model": "m"}},
        ]
        self._send(200, json.dumps(ready if self.path == "/readyz" else {"data": models}))

    def _send(self, status: int, content: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    _Service.asked, _Service.keys = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str, **more: Any) -> Any:
    return CliRunner().invoke(app, list(arguments), **more)


def test_check_outlines_a_good_configuration() -> None:
    result = run("check")
    assert result.exit_code == 0
    assert ": OK" in result.stdout
    assert "fusion/debate: debate of precise, creative, concise" in result.stdout


def test_check_names_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("backends: {}\nmembrs: {}\n")
    result = run("check", "-c", str(file))
    assert result.exit_code == 2
    assert f"{file}:2:1: membrs: unknown key; did you mean members?" in result.stderr
    assert result.stdout == ""


def test_the_answer_alone_goes_to_standard_output(service: str) -> None:
    result = run("ask", "What is 2 + 2?", "--url", service, "--show-candidates", env={"FUSION_API_KEY": "k"})
    assert result.exit_code == 0
    assert result.stdout == "It is four.\n"
    assert "[ada] answered: four" in result.stderr
    assert "ada won, judged by arbiter · 1.5 s · +25% over the slowest member" in result.stderr
    assert _Service.asked[0]["fusion"] == {"include": ["events", "candidates"]}
    assert _Service.keys == ["Bearer k"]


def test_a_question_from_standard_input_and_an_answer_as_json(service: str) -> None:
    result = run("ask", "-", "--json", "--url", service, input="What is 2 + 2?")
    assert json.loads(result.stdout)["choices"][0]["message"]["content"] == "four"
    assert _Service.asked[0]["messages"] == [{"role": "user", "content": "What is 2 + 2?"}]


def test_a_member_is_asked_without_fusion_options(service: str) -> None:
    run("ask", "hi", "-p", "ada", "--url", service)
    assert "fusion" not in _Service.asked[0]


@pytest.mark.parametrize(
    ("preset", "says"), [("fusion/none", "HTTP 404: there is no model"), ("fusion/breaks", "broke off")]
)
def test_a_refused_question_fails(service: str, preset: str, says: str) -> None:
    result = run("ask", "hi", "-p", preset, "--url", service)
    assert result.exit_code == 1
    assert says in result.stderr


@pytest.mark.parametrize("command", [["ask", "hi"], ["status"]])
def test_nothing_there(command: list[str]) -> None:
    result = run(*command, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "nothing answers at http://127.0.0.1:9" in result.stderr


def test_status_shows_what_is_ready(service: str) -> None:
    result = run("status", "--url", service)
    assert result.exit_code == 0
    assert "fusion/merge" in result.stdout
    assert "is ready" in result.stdout


def test_help_teaches_and_wrong_usage_is_2() -> None:
    assert "Exit codes" in run("--help").stdout
    assert "Example:" in run("ask", "--help").stdout
    assert run("ask").exit_code == 2
    assert run("serve", "--port", "0").exit_code == 2
    assert run("--version").stdout.startswith("fusion-cluster ")


def test_the_command_does_not_load_ray_before_it_serves() -> None:
    script = "import sys, cluster.cli.main; sys.exit(any(name in sys.modules for name in ('ray', 'vllm', 'torch')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
