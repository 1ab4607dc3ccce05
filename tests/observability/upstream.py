"""An OpenAI-compatible server whose models each do one thing: answer, judge, speak to the judge, fail, be slow."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_ANSWERS = {
    "four": "It is four.",
    "five": "Five.",
    "eve": "Seven. <|im_end|>",
    "writes": "Four.",
    "dozes": "Four, I think.",
    "stumbles": "It is 4.",
    "stalls": "4",
}
DOZES_S = 0.5
STALLS_AFTER = 20
"""How often `stalls` answers at once before it takes its time: as often as a second call needs to know it."""
_USAGE = {"prompt_tokens": 50, "completion_tokens": 5}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: Counter[str]

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = asked["model"]
        before = self.asked[model]
        self.asked[model] += 1
        if model == "dozes" or (model == "stalls" and before % (STALLS_AFTER + 1) == STALLS_AFTER):
            time.sleep(DOZES_S)
        if model == "fails" or (model == "stumbles" and before % 2 == 0):
            return self._send(500, "application/json", b'{"error": {"message": "no", "type": "server_error"}}')
        text = _verdict(asked) if model == "picks" else _ANSWERS[model]
        if asked.get("stream"):
            return self._send(200, "text/event-stream", _stream(text))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send(200, "application/json", json.dumps({"choices": [choice], "usage": _USAGE}).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def _verdict(asked: dict[str, Any]) -> str:
    """The first answer wins, whichever it is, so that two orders disagree."""
    labels = list(dict.fromkeys(re.findall(r"<answer ([A-Z]) ", json.dumps(asked["messages"]))))
    return json.dumps({"reason": "it is the first", "scores": {label: 9 - i for i, label in enumerate(labels)}})


def _stream(text: str) -> bytes:
    deltas = [{"delta": {"content": piece}} for piece in text.split(" ")]
    chunks = [{"choices": [delta]} for delta in (*deltas, {"delta": {}, "finish_reason": "stop"})]
    lines = [json.dumps(chunk) for chunk in (*chunks, {"choices": [], "usage": _USAGE})]
    return "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]")).encode()


@contextmanager
def upstream() -> Generator[str]:
    """Its API's address, while it serves."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"asked": Counter()}))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
