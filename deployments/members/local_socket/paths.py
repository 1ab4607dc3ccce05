"""The folders with the sockets of deployments' replicas on this machine.

They belong to one user and nobody else can enter them, so that what comes out of a socket was written by a process that
is trusted with anything. A replica removes its socket; the folders stay until `remove_unused`, and
so does what a killed replica left behind.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_MAX_FOLDER_BYTES = 80  # a socket's path has 107, and a replica's name 8


def sockets_of(cluster: str, app: str, deployment: str) -> Path | None:
    """The folder with the sockets of a deployment's replicas on this machine; None when another user owns its place, or
    its path is too long for a socket's."""
    home = _home()
    folder = home / hashlib.sha256(f"{cluster}\n{app}\n{deployment}".encode()).hexdigest()[:16]
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(home):
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder if len(os.fsencode(folder)) < _MAX_FOLDER_BYTES else None


def listening_in(folder: Path, name: str) -> socket.socket:
    """Bind a socket of this name in the folder, which is created again when it was removed.

    Raises:
        OSError: the socket cannot be bound.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(folder / name))
    except FileNotFoundError:
        folder.mkdir(mode=0o700, exist_ok=True)
        listening.bind(str(folder / name))
    return listening


def remove_unused() -> None:
    """Remove this user's sockets on which no process listens, and the folders that are empty after that."""
    home = _home()
    with suppress(OSError):
        if not _is_ours(home):
            return
        for folder in home.iterdir():
            with suppress(OSError):
                for path in folder.iterdir():
                    if _is_dead(path):
                        path.unlink(missing_ok=True)
                folder.rmdir()


def _is_dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _home() -> Path:
    return Path(tempfile.gettempdir()) / f"fusion-cluster-{os.geteuid()}"


def _is_ours(home: Path) -> bool:
    seen = home.lstat()
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o077
