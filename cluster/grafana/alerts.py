"""The alerts, defined once: Grafana gets them as rules of its own, the Prometheus operator as a PrometheusRule."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from cluster.config.monitoring import Objectives

GROUP = "fusion-cluster"
EVALUATED_EVERY_S = 60
_EXPRESSION = "__expr__"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Alert:
    """Fires for each series of `expr` that has been above `above` for `for_minutes`."""

    name: str
    expr: str
    above: float
    for_minutes: int
    severity: Literal["critical", "warning"]
    summary: str
    description: str

    @property
    def uid(self) -> str:
        """The same in every Grafana: `FusionNoQuorum` is `fusion-no-quorum`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", self.name).lower()


def alerts(objectives: Objectives) -> tuple[Alert, ...]:
    """Every alert, by what is to be held."""
    failed = 'ray_fusion_requests_total{outcome="no_quorum"}'
    unjudged = 'ray_fusion_requests_total{degraded=~"judge_.*|jury_incomplete"}'
    requests = "sum by (application, preset) (rate(ray_fusion_requests_total[5m]))"
    buckets = "sum by (le, application, preset) (rate(ray_fusion_request_duration_seconds_bucket[5m]))"
    depth = "sum by (application) (ray_fusion_judge_running) + sum by (application) (ray_fusion_judge_queued)"
    # Replicas export their own target, so that the alert follows what is configured.
    target = "sum by (application) (ray_fusion_judge_target_queue_depth)"
    if objectives.queue_depth is not None:
        target = f"(count by (application) (ray_fusion_judge_queued) * {objectives.queue_depth:g})"
    return (
        Alert(
            "FusionNoQuorum",
            # A series begins with its first count, which no rate sees.
            f"sum by (application, preset) (increase({failed}[5m]) > 0 or ({failed} unless {failed} offset 5m))",
            0,
            0,
            "critical",
            "{{ $labels.preset }} does not reach its quorum",
            "Requests fail because too few members of the panel answer. See which on the dashboard Members.",
        ),
        Alert(
            "FusionJudgeDegraded",
            f"sum by (application, preset) (rate({unjudged}[5m])) / ({requests} > 0)",
            objectives.degraded_share,
            5,
            "warning",
            "{{ $labels.preset }} gives degraded answers",
            "Judge models fail, so answers stand unjudged or come from the next judge in line.",
        ),
        Alert(
            "FusionBreakerOpen",
            "max by (application, member) (ray_fusion_member_breaker_state)",
            1,
            1,
            "warning",
            "the breaker of {{ $labels.member }} is open",
            "Its backend failed too often, and is left alone for a while. Panels go on without it.",
        ),
        Alert(
            "FusionQueueAboveTarget",
            f"({depth}) / {target}",
            1,
            5,
            "warning",
            "the judges of {{ $labels.application }} have more requests than they are meant to",
            "Requests under way and waiting exceed what all replicas are meant to have; autoscaling has not caught up.",
        ),
        Alert(
            "FusionLatencyOverObjective",
            f"histogram_quantile(0.99, {buckets})",
            objectives.p99_s,
            10,
            "warning",
            "{{ $labels.preset }} is slower than its objective",
            f"The 99th percentile of fused requests has been above {objectives.p99_s:g} s.",
        ),
        Alert(
            "FusionBudgetBurn",
            "sum by (application) (rate(ray_fusion_cost_usd_total[1h])) * 3600",
            objectives.budget_usd_per_hour,
            5,
            "warning",
            "{{ $labels.application }} spends more than its budget",
            f"At the rate of the last hour, calls cost more than {objectives.budget_usd_per_hour:g} USD an hour.",
        ),
    )


def grafana_rule(alert: Alert, folder_uid: str, data_source_uid: str) -> Manifest:
    """An alert as Grafana's provisioning API takes it. Without data nothing fires."""
    window = {"from": 3600, "to": 0}
    query = {
        "refId": "A",
        "expr": alert.expr,
        "instant": True,
        "range": False,
        "intervalMs": 1000,
        "maxDataPoints": 43200,
    }
    above = {
        "refId": "B",
        "type": "threshold",
        "expression": "A",
        "datasource": {"type": _EXPRESSION, "uid": _EXPRESSION},
        "conditions": [{"evaluator": {"type": "gt", "params": [alert.above]}}],
    }
    return {
        "uid": alert.uid,
        "title": alert.name,
        "folderUID": folder_uid,
        "ruleGroup": GROUP,
        "condition": "B",
        "data": [
            {"refId": "A", "relativeTimeRange": window, "datasourceUid": data_source_uid, "model": query},
            {"refId": "B", "relativeTimeRange": window, "datasourceUid": _EXPRESSION, "model": above},
        ],
        "for": _for(alert),
        "noDataState": "OK",
        "execErrState": "Error",
        "isPaused": False,
        "labels": _labels(alert),
        "annotations": _annotations(alert),
    }


def prometheus_rule(found: tuple[Alert, ...]) -> Manifest:
    """The alerts as the Prometheus operator takes them."""
    rules = [
        {
            "alert": alert.name,
            "expr": f"({alert.expr}) > {alert.above:g}",
            "for": _for(alert),
            "labels": _labels(alert),
            "annotations": _annotations(alert),
        }
        for alert in found
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "fusion", "labels": {"app.kubernetes.io/name": "fusion-cluster"}},
        "spec": {"groups": [{"name": GROUP, "interval": f"{EVALUATED_EVERY_S}s", "rules": rules}]},
    }


def _for(alert: Alert) -> str:
    return f"{alert.for_minutes}m" if alert.for_minutes else "0s"


def _labels(alert: Alert) -> dict[str, str]:
    return {"severity": alert.severity, "service": "fusion-cluster"}


def _annotations(alert: Alert) -> dict[str, str]:
    return {"summary": alert.summary, "description": alert.description}
