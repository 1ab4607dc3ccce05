"""An environment of its own for each contender that is not this project, made once, with pinned versions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from cluster.serving.embedded_model import default_cache_dir

PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "floor": (("fastapi==0.136.3", "uvicorn[standard]==0.54.0", "httpx==0.28.1", "httpx-aiohttp==0.2.0"),),
    "litellm": (("litellm[proxy]==1.106.2", "httpx-aiohttp==0.2.0"),),
    # PyTorch first: left to itself, optillm takes a build for GPUs.
    "optillm": (("torch==2.13.0",), ("optillm==0.4.0",)),
}
# Older ones try versions for a quarter of an hour.
_PIP = ("pip>=25",)


class NotInstalled(Exception):
    """A contender's packages cannot be had. The message says which and why."""


def environment(name: str) -> Path:
    """The folder of a contender's environment, with its packages in it.

    Raises:
        NotInstalled: pip could not install them.
    """
    home = default_cache_dir() / "bench"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / name
    wanted = "\n".join(" ".join(step) for step in PACKAGES[name])
    stamp = folder / "installed.txt"
    with FileLock(home / f"{name}.lock"):
        if stamp.exists() and stamp.read_text() == wanted:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for packages in (_PIP, *PACKAGES[name]):
            install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise NotInstalled(f"{' '.join(packages)}: {last}")
        stamp.write_text(wanted)
    return folder
