"""Nothing that was started is left behind, however it ends.

Every process of a run inherits a mark in its environment. A sweep ends all that carry it, whoever their parent is by
then; a watchdog in a session of its own sweeps when the run is killed outright.
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


GRACE_S = 3.0


_ROUNDS = 5


def mark_run() -> str:
    """Mark this process, and so everything it starts from now on."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    return mark


def watch_run(mark: str) -> subprocess.Popen[bytes]:
    """Start the watchdog. It sweeps as soon as this process is gone, and ends with it."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "cluster.serving.processes", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != MARK},
    )


def sweep(mark: str) -> None:
    """End every process with the mark but this one: with SIGTERM, and after `GRACE_S` seconds with SIGKILL."""
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
    """Wait for the end of the process that holds the other end of the pipe, then sweep."""
    sys.stdin.buffer.read()
    sweep(mark)
    remove_unused()


if __name__ == "__main__":
    main(sys.argv[1])
