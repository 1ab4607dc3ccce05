"""The dashboard of the judge and its autoscaling."""

from __future__ import annotations

from cluster.grafana.dashboards.variables import APPLICATION, OF_APPLICATION
from cluster.grafana.panels import Dashboard, Panel, Query, Row, Variable, per, quantiles, rate, share

_DEPLOYMENT = f'{OF_APPLICATION},deployment=~"$Deployment",replica=~"$Replica"'


def _judged(metric: str) -> str:
    return rate(f"ray_fusion_{metric}_total{{{OF_APPLICATION}}}")


def _of_verdicts(metric: str) -> str:
    return share(per("judge", _judged(metric)), per("judge", _judged("verdicts")))


def _deployments(metric: str, selector: str = OF_APPLICATION) -> str:
    return per("deployment", f"ray_serve_{metric}{{{selector}}}")


# Ray's own dashboard shows the panels 2, 3 and 5 of what it takes for a deployment's, and sets these two variables.
JUDGE = Dashboard(
    uid="fusion-judge",
    title="Judge and autoscaling",
    description="Verdicts, the judge's queue, and how replicas follow the load.",
    variables=(
        APPLICATION,
        Variable("Deployment", "Deployment", "ray_serve_deployment_request_counter_total", "deployment"),
        Variable("Replica", "Replica", "ray_serve_deployment_request_counter_total", "replica"),
    ),
    rows=(
        Row(
            "Verdicts",
            (
                Panel(
                    "Verdicts",
                    "A second, by judge model.",
                    "ops",
                    (Query(per("judge", _judged("verdicts")), "{{judge}}"),),
                ),
                Panel(
                    "Wins",
                    "A second, by member.",
                    "ops",
                    (Query(per("member", _judged("wins")), "{{member}}"),),
                    stacked=True,
                ),
                Panel(
                    "Ties and order disagreements",
                    "Share of verdicts. A judge model that often changes its mind with the "
                    "order of the candidates decides little.",
                    "percentunit",
                    (
                        Query(_of_verdicts("ties"), "{{judge}} ties"),
                        Query(_of_verdicts("order_disagreements"), "{{judge}} disagreements"),
                    ),
                ),
                Panel(
                    "Invalid verdicts",
                    "Replies a second that were no verdict.",
                    "ops",
                    (Query(per("judge", _judged("invalid_verdicts")), "{{judge}}"),),
                ),
                Panel(
                    "Injections caught",
                    "Candidates a second that speak to the judge, by member.",
                    "ops",
                    (Query(per("member", _judged("injections")), "{{member}}"),),
                ),
                Panel(
                    "Time to judge",
                    "All presets together.",
                    "s",
                    quantiles("ray_fusion_judge_duration_seconds", OF_APPLICATION),
                ),
            ),
        ),
        Row(
            "Queue",
            (
                Panel(
                    "Under way",
                    "Fused requests in judge replicas.",
                    "short",
                    (
                        Query(f"sum(ray_fusion_judge_running{{{OF_APPLICATION}}})", "all"),
                        Query(f"max(ray_fusion_judge_running{{{OF_APPLICATION}}})", "fullest replica"),
                        Query(f"max(ray_fusion_judge_target_queue_depth{{{OF_APPLICATION}}})", "target of a replica"),
                    ),
                ),
                Panel(
                    "Waiting",
                    "Fused requests that wait in judge replicas.",
                    "short",
                    (
                        Query(f"sum(ray_fusion_judge_queued{{{OF_APPLICATION}}})", "all"),
                        Query(f"max(ray_fusion_judge_queued{{{OF_APPLICATION}}})", "fullest replica"),
                    ),
                ),
                Panel(
                    "Refused",
                    "Requests a second for which no replica had room: 429 to the client.",
                    "reqps",
                    (Query(f"sum({_judged('judge_refusals')})", "refused"),),
                ),
            ),
        ),
        Row(
            "Autoscaling",
            (
                Panel(
                    "Replicas",
                    "That are up.",
                    "short",
                    (Query(_deployments("deployment_replica_healthy"), "{{deployment}}"),),
                ),
                Panel(
                    "Replicas wanted",
                    "What the autoscaling policy asks for.",
                    "short",
                    (
                        Query(
                            f"max by (deployment) (ray_serve_autoscaling_target_replicas{{{OF_APPLICATION}}})",
                            "{{deployment}}",
                        ),
                    ),
                ),
                Panel(
                    "Load that the policy sees",
                    "Calls under way and waiting.",
                    "short",
                    (
                        Query(
                            f"max by (deployment) (ray_serve_autoscaling_total_requests{{{OF_APPLICATION}}})",
                            "{{deployment}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "A deployment's replicas",
            (
                Panel(
                    "Calls by replica",
                    "Calls a second.",
                    "reqps",
                    (
                        Query(
                            per(
                                "deployment, replica",
                                rate(f"ray_serve_deployment_request_counter_total{{{_DEPLOYMENT}}}"),
                            ),
                            "{{deployment}} {{replica}}",
                        ),
                    ),
                    id=2,
                ),
                Panel(
                    "Failed calls by replica",
                    "Calls a second that ended in an error.",
                    "reqps",
                    (
                        Query(
                            per(
                                "deployment, replica",
                                rate(f"ray_serve_deployment_error_counter_total{{{_DEPLOYMENT}}}"),
                            ),
                            "{{deployment}} {{replica}}",
                        ),
                    ),
                    id=3,
                ),
                Panel(
                    "Latency of a call by replica, p90",
                    "As Serve measures it.",
                    "ms",
                    (
                        Query(
                            "histogram_quantile(0.9, "
                            + per(
                                "le, deployment, replica",
                                rate(f"ray_serve_deployment_processing_latency_ms_bucket{{{_DEPLOYMENT}}}"),
                            )
                            + ")",
                            "{{deployment}} {{replica}}",
                        ),
                    ),
                    id=5,
                ),
            ),
        ),
    ),
)
