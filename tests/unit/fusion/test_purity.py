"""`fusion/` is the idea alone: importing it loads no framework."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fusion

FOREIGN = {"ray", "vllm", "fastapi", "starlette", "httpx", "aiohttp", "pydantic", "cluster", "deployments"}

_IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import fusion
names = [module.name for module in pkgutil.walk_packages(fusion.__path__, "fusion.")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def test_importing_all_of_fusion_loads_no_framework() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _IMPORT_EVERYTHING],
        cwd=Path(fusion.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(run.stdout)
    assert {"fusion.runtime.runner", "fusion.testing", "fusion.modes.debate"} <= set(found["imported"])
    assert FOREIGN.isdisjoint(found["loaded"])
