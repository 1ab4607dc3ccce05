"""Every overlay as `kubectl kustomize` renders it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path.parent for path in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml"))
CRDS = "KUBERAY_CRDS"

Manifest = dict[str, Any]


@pytest.fixture(scope="session", params=OVERLAYS, ids=lambda folder: folder.name)
def overlay(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="session")
def objects(overlay: Path) -> list[Manifest]:
    """The overlay's objects."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: on Debian it is in kubernetes-client")
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="session")
def service(objects: list[Manifest]) -> Manifest:
    """The overlay's RayService."""
    (found,) = [each for each in objects if each["kind"] == "RayService"]
    return found


@pytest.fixture(scope="session")
def crds() -> Mapping[str, Manifest]:
    """KubeRay's custom resource definitions, by kind."""
    folder = os.environ.get(CRDS)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"{CRDS} names no folder: set it to one with KubeRay's ray.io_*.yaml")
    # The plain loader takes minutes.
    found = [yaml.load(file.read_text(), yaml.CSafeLoader) for file in sorted(Path(folder).glob("ray.io_*.yaml"))]
    assert found, f"there is no ray.io_*.yaml in {folder}"
    return {crd["spec"]["names"]["kind"]: crd for crd in found}


def pods(service: Manifest) -> dict[str, Manifest]:
    """The RayService's pod templates by group, with the labels that KubeRay adds to their pods."""
    cluster = service["spec"]["rayClusterConfig"]
    groups = {"headgroup": ("head", cluster["headGroupSpec"]["template"])}
    groups |= {group["groupName"]: ("worker", group["template"]) for group in cluster["workerGroupSpecs"]}
    templates: dict[str, Manifest] = {}
    for name, (kind, template) in groups.items():
        labels = {**template["metadata"]["labels"], "ray.io/is-ray-node": "yes", "ray.io/group": name}
        templates[name] = {**template, "metadata": {"labels": {**labels, "ray.io/node-type": kind}}}
    return templates
