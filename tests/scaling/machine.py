"""The machine that figures come from, in words."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil
import ray


def machine() -> str:
    """Its processor, cores and memory, and what was measured with."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next((line.split(":")[1].strip() for line in cpuinfo.open() if line.startswith("model name")), model)
    memory_gb = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, load generator and upstream included; "
        f"Python {platform.python_version()}, Ray {ray.__version__}; {datetime.now(UTC):%Y-%m-%d}"
    )
