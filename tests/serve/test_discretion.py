"""Nothing of a key, of a prompt, or of what members write is in a log file or in a metric, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import httpx
import ray

from tests.serve.conftest import KEY, UPSTREAM_KEY, Served, ask

PROMPT = "zebra-in-the-prompt"
WRITTEN = "All things considered"
"""A piece of what a member writes as the judge."""


def traffic(url: str) -> None:
    """Calls that go well and calls that go wrong, to members of every kind."""
    asked = {"messages": [{"role": "user", "content": f"What is {PROMPT}?"}]}
    include = {"include": ["candidates", "events"]}
    with httpx.Client(base_url=url, timeout=30) as client:
        for stream in (False, True):
            for prefix in ("", "remote/"):
                fused = ask(
                    client, "fusion/merge", f"{prefix}v1/chat/completions", fusion=include, stream=stream, **asked
                )
                assert fused.status_code == 200
            for member in ("fails", "raises", "rubbish", "cut-off", "empty", "busy"):
                ask(client, member, stream=stream, **asked)
            for member in ("four", "missing", "dead"):
                ask(client, member, "remote/v1/chat/completions", stream=stream, **asked)
        path = "keyed/v1/chat/completions"
        for key in (KEY, f"{KEY}-wrong"):
            client.post(path, json={"model": "four", **asked}, headers={"authorization": f"Bearer {key}"})
        ask(client, "four", messages=[{"role": PROMPT, "content": PROMPT}])
        ask(client, "four", temperature=PROMPT)
        client.post("v1/chat/completions", content=f'{{"model": "{PROMPT}"'.encode())


def test_nothing_is_told_that_was_told_in_confidence(served: Served) -> None:
    traffic(served.url)
    metrics = httpx.get(f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics", timeout=10).text
    folder = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    logs = {path: path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()}
    assert any("member raises: " in text for text in logs.values()), "what went wrong is logged where it is looked for"
    for secret in (PROMPT, KEY, UPSTREAM_KEY, WRITTEN):
        assert secret not in metrics, secret
        assert [path for path, text in logs.items() if secret in text] == [], secret
