"""A client that goes away stops everything that was started for it within a second."""

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest

from tests.serve.conftest import Served


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["fusion/merge", "hangs"])
def test_a_disconnect_cancels_the_members(served: Served, model: str, stream: bool) -> None:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    if model != "hangs":
        body["fusion"] = {"panel": ["hangs"], "quorum": 1, "include": ["events"]}
    content = json.dumps(body).encode()
    before = served.story("hangs")["cancelled"]
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    _wait_for(lambda: served.story("hangs")["running"] == 1, 10)

    connection.close()

    _wait_for(lambda: served.story("hangs")["running"] == 0, 1.0)
    assert served.story("hangs")["cancelled"] == before + 1


def test_losers_are_cancelled_when_the_answer_is_there(served: Served) -> None:

    before = served.story("hangs")
    body = {"model": "fusion/best-of", "messages": [{"role": "user", "content": "hi"}]}
    body["fusion"] = {"panel": ["four", "five", "hangs"], "quorum": 2}
    httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=20).raise_for_status()

    _wait_for(lambda: served.story("hangs")["running"] == 0, 1.0)
    assert served.story("hangs")["cancelled"] == before["cancelled"] + 1
