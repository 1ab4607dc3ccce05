"""`fusion serve --metrics` as a process, with the real Prometheus."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.observability.conftest import Observed
from tests.serve.test_lifecycle import config  # noqa: F401

SERVE = [sys.executable, "-m", "cluster.cli.main", "serve"]


def test_prometheus_is_there_for_these_tests() -> None:
    assert shutil.which("prometheus"), "these tests need prometheus on PATH: apt-get install prometheus"


def test_without_prometheus_nothing_is_started(config: Path, tmp_path: Path) -> None:  # noqa: F811
    ended = subprocess.run(
        [*SERVE, "-c", str(config), "--metrics"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PATH": str(tmp_path)},
    )
    assert ended.returncode == 1
    assert "apt-get install prometheus" in ended.stderr
    assert "starting Ray" not in ended.stderr


def test_a_taken_port_is_named(config: Path) -> None:  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*SERVE, "-c", str(config), "--metrics", "--metrics-port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 3
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "--metrics-port" in ended.stderr


def test_ray_and_members_are_in_prometheus(observed: Observed) -> None:
    assert observed.prometheus.ask_until_data('up{job="ray"} == 1', 30)
    assert observed.prometheus.ask_until_data('{__name__=~"ray_fusion_member_.*"}', 45)
