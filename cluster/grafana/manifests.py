"""Dashboards and alerts as manifests for Kubernetes, written into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.config.monitoring import Objectives
from cluster.config.yaml_text import dump_yaml
from cluster.grafana.alerts import alerts, prometheus_rule
from cluster.grafana.dashboards.cost import COST
from cluster.grafana.dashboards.engines import ENGINES
from cluster.grafana.dashboards.judge import JUDGE
from cluster.grafana.dashboards.members import MEMBERS
from cluster.grafana.dashboards.overview import OVERVIEW
from cluster.grafana.panels import Dashboard, model

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, MEMBERS, JUDGE, COST, ENGINES)
FOLDER = "Fusion Cluster"
_LABELS = {"app.kubernetes.io/name": "fusion-cluster"}


def files() -> dict[str, str]:
    """Every file by its name: a ConfigMap a dashboard, for Grafana's sidecar, and a PrometheusRule."""
    maps = {f"{board.uid}.yaml": _text(_config_map(board)) for board in DASHBOARDS}
    return {**maps, "prometheus-rule.yaml": _text(prometheus_rule(alerts(Objectives())))}


def write(folder: Path) -> None:
    """Write them."""
    for name, text in files().items():
        (folder / name).write_text(text)


def _config_map(board: Dashboard) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": board.uid,
            "labels": {**_LABELS, "grafana_dashboard": "1"},
            "annotations": {"grafana_folder": FOLDER},
        },
        "data": {f"{board.uid}.json": json.dumps(model(board), indent=1) + "\n"},
    }


def _text(manifest: dict[str, Any]) -> str:
    return "# Made by `make dashboards`.\n" + dump_yaml(manifest)
