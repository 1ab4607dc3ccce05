"""A second HAProxy for the seconds in which Serve does not know yet that its own one died.

Serve takes three failed looks and a new actor to replace a HAProxy. A guard, started beside each one, sees at once that
it is gone and starts a stand-in with the same configuration, which the next HAProxy that knows of replicas relieves.
The guard is in a session of its own, so that what ends the actor does not end it; a service's end sweeps both.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

RELIEVED_WITHIN_S = 60.0
"""A stand-in that nobody relieves ends after so long: then there is nobody who would."""


_CONFIGURATION, _PID = "stand-in.cfg", "stand-in.pid"


_SERVER = re.compile(r"^\s*server\s", re.MULTILINE)


_SECTION = re.compile(r"^(?=(?:global|defaults|frontend|backend|listen)\b)", re.MULTILINE)


_BIND = re.compile(r"^\s*bind\s.*\n", re.MULTILINE)


_SOCKET = re.compile(r"^\s*stats socket (\S+).*\n", re.MULTILINE)


_FRONT = "frontend http_frontend"


def knows_replicas(configuration: str) -> bool:
    """Whether HAProxy's configuration names a server."""
    return _SERVER.search(configuration) is not None


def fronts_alone(configuration: str) -> str:
    """HAProxy's configuration that listens where the service does, and nowhere else."""
    sections = _SECTION.split(_SOCKET.sub("", configuration))
    return "".join(part if part.startswith(_FRONT) else _BIND.sub("", part) for part in sections)


def without_front(configuration: str) -> str:
    """HAProxy's configuration that does not listen where the service does."""
    sections = _SECTION.split(configuration)
    return "".join(_BIND.sub("", part) if part.startswith(_FRONT) else part for part in sections)


def standing_in(folder: Path) -> int | None:
    """The process that stands in for this folder's HAProxy, if one does."""
    with suppress(OSError, ValueError):
        pid = int((folder / _PID).read_text())
        if str(folder / _CONFIGURATION).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return None


def watch(folder: Path, configuration: str, binary: str) -> None:
    """Start the guard of this process, which is about to become HAProxy with this configuration."""
    if knows_replicas(configuration) and (admin := _SOCKET.search(configuration)):
        (folder / _CONFIGURATION).write_text(fronts_alone(configuration))
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", __name__, str(os.getpid()), str(folder), admin[1], binary],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def guard(pid: int, folder: Path, admin: str, binary: str) -> None:
    """Wait for HAProxy's end, and stand in for it unless another one has taken over."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([handle], [], [])
    if _answers(admin):
        return
    stand_in = subprocess.Popen([binary, "-db", "-f", str(folder / _CONFIGURATION)])  # noqa: S603
    (folder / _PID).write_text(str(stand_in.pid))
    try:
        stand_in.wait(RELIEVED_WITHIN_S)
    except subprocess.TimeoutExpired:
        stand_in.send_signal(signal.SIGUSR1)


def _answers(admin: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(admin)
        return True
    return False


if __name__ == "__main__":
    guard(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
