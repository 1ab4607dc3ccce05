"""Ends every process of a run of `fusion serve`, however the run ends.

Each process inherits a mark in its environment, by which it is found even after its parent has died. A watchdog in a
session of its own kills all marked processes if the run itself is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import psutil

from deployments.members.local_socket.paths import remove_unused

MARK = "FUSION_CLUSTER_RUN"
"""Environment variable that identifies the run a process belongs to."""


GRACE_S = 3.0
"""Time between SIGTERM and SIGKILL."""


_ROUNDS = 5


def mark_run() -> str:
    """Marks this process, and thereby everything that it starts from now on. Returns the mark."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    return mark


def start_watchdog(mark: str) -> subprocess.Popen[bytes]:
    """Starts a process that calls `kill_marked` as soon as this process is gone, and then ends."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "cluster.serving.processes", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != MARK},
    )


def kill_marked(mark: str) -> None:
    """Ends every process with the mark except this one: with SIGTERM, and after `GRACE_S` seconds with SIGKILL."""
    for round_number in range(_ROUNDS):
        marked = list(_marked(mark))
        if not marked:
            return
        for process in marked:
            try:
                process.kill() if round_number else process.terminate()
            except psutil.Error:
                continue
        psutil.wait_procs(marked, timeout=GRACE_S)


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                yield process
        except (psutil.Error, OSError):
            continue


def main(mark: str) -> None:
    """Waits until the parent, which holds the other end of the pipe, is gone, then kills what it left behind."""
    sys.stdin.buffer.read()
    kill_marked(mark)
    remove_unused()


if __name__ == "__main__":
    main(sys.argv[1])
