"""vLLM's own HTTP server, which speaks OpenAI's protocol and Anthropic's, as an upstream that no one here wrote."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployments.providers.backend import RemoteBackend, Timeouts
from deployments.providers.base import Api
from deployments.providers.member import RemoteMember
from deployments.secrets import Secret

MODEL = "smollm2"
KEY = "sk-a-very-secret-key"
CONTEXT_TOKENS = 2048

_SETTINGS = [
    *("--served-model-name", MODEL, "--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", "8"),
    *("--dtype", "float32", "--enforce-eager", "--distributed-executor-backend", "uni"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--enable-prompt-tokens-details", "--disable-uvicorn-access-log"),
]
# Calls are counted in two places: under way, and waiting for their turn.
_AT_WORK = re.compile(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
_STARTS_WITHIN_S = 600
_PATIENT = Timeouts(connect_s=30.0, first_token_s=240.0, idle_s=240.0, total_s=240.0)


@dataclass(frozen=True, slots=True)
class Server:
    """A server under way. `keys` is a folder with its key and a wrong one, each in a file."""

    url: str
    keys: Path

    def backend(self, api: Api, key: str | None = "right") -> RemoteBackend:
        secret = None if key is None else Secret(file=str(self.keys / key))
        return RemoteBackend(f"{self.url}/v1", secret, _PATIENT, api=api)

    def member(self, api: Api, model: str = MODEL, key: str | None = "right") -> RemoteMember:
        return RemoteMember(self.backend(api, key), model)

    async def busy(self) -> bool:
        """Whether its engine is at work for anyone, by its own word."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            told = (await client.get("metrics", timeout=30)).text
        counts = [float(count) for count in _AT_WORK.findall(told)]
        assert len(counts) == 2, told
        return sum(counts) > 0


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[Server]:
    """Start a server that asks for a key, and end it."""
    for name, key in (("right", KEY), ("wrong", "sk-another-key")):
        (folder / name).write_text(key)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--api-key", KEY, "--model", str(model)]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *where, *_SETTINGS]
    env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    server = Server(f"http://127.0.0.1:{port}", folder)
    try:
        _await(server.url, process, log)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    with httpx.Client(base_url=url, trust_env=False) as client:
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < until, log.read_text()[-4000:]
            try:
                if client.get("health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
