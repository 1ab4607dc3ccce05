"""Starts a Prometheus beside the service, for `fusion serve --metrics`.

It uses the scrape configuration that Ray writes for each session, which follows nodes as they join and leave.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx

from cluster.serving.startup import StartFailed

START_TIMEOUT_S = 30.0
"""Time for Ray to write the scrape configuration and for Prometheus to become ready."""


INSTALL = (
    "install it (Debian, Ubuntu: apt-get install prometheus; else https://prometheus.io/download) "
    "or leave --metrics out"
)


class PrometheusMissing(Exception):
    """There is no `prometheus` on PATH."""


def find() -> str:
    """Returns the path of the `prometheus` on PATH.

    Raises:
        PrometheusMissing: there is none.
    """
    found = shutil.which("prometheus")
    if found is None:
        raise PrometheusMissing(f"--metrics needs prometheus, which is not on PATH: {INSTALL}")
    return found


def command(binary: str, session: Path, port: int) -> list[str]:
    """Returns the command line of a Prometheus on the loopback address for a Ray session.

    Args:
        binary: path of the executable.
        session: folder of the session; the data goes there too.
        port: port to listen on.
    """
    return [
        binary,
        f"--config.file={session / 'metrics/prometheus/prometheus.yml'}",
        f"--storage.tsdb.path={session / 'metrics/prometheus/data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def start(binary: str, session: Path, port: int) -> subprocess.Popen[bytes]:
    """Starts Prometheus and waits until it is ready. It inherits the mark of the run and ends with it.

    Raises:
        StartFailed: Ray wrote no scrape configuration in time, or Prometheus ended or is not ready in time.
    """
    configuration = session / "metrics/prometheus/prometheus.yml"
    log = session / "logs/prometheus.log"
    ends_at = time.monotonic() + START_TIMEOUT_S
    while not configuration.is_file():
        if time.monotonic() > ends_at:
            raise StartFailed(f"Ray wrote no scrape configuration for Prometheus: {configuration} is not there")
        time.sleep(0.1)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command(binary, session, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(os.environ),
        )
    with httpx.Client(trust_env=False, timeout=2) as client:
        while time.monotonic() < ends_at:
            if process.poll() is not None:
                raise StartFailed(f"Prometheus ended with {process.returncode}: {_last_line(log)} (see {log})")
            try:
                if client.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200:
                    return process
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
    process.kill()
    process.wait()
    raise StartFailed(f"Prometheus is not ready after {START_TIMEOUT_S:.0f} s (see {log})")


def _last_line(log: Path) -> str:
    return log.read_text(errors="replace").strip().rpartition("\n")[2]
