"""The dashboard to look at first."""

from __future__ import annotations

from cluster.grafana.dashboards.variables import APPLICATION, OF_APPLICATION, OF_PRESET, PRESET
from cluster.grafana.panels import Dashboard, Panel, Query, Row, per, quantiles, rate, share

_REQUESTS = f"ray_fusion_requests_total{{{OF_PRESET}}}"
_WANTED = f'ray_fusion_requests_total{{{OF_PRESET},outcome!="cancelled"}}'
_ANSWERED = f'ray_fusion_requests_total{{{OF_PRESET},outcome="answered"}}'
_DEGRADED = f'ray_fusion_requests_total{{{OF_PRESET},degraded!=""}}'
_EXITS = f"ray_fusion_agreement_exits_total{{{OF_PRESET}}}"

# Ray's own dashboard shows the panels 7, 8 and 15 of what it takes for Serve's dashboard, and 20 to 25 below them.
OVERVIEW = Dashboard(
    uid="fusion-overview",
    title="Fusion overview",
    description="How much is asked, how it ends, and how long it takes.",
    variables=(APPLICATION, PRESET),
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Requests",
                    "Fused requests a second.",
                    "reqps",
                    (Query(f"sum({rate(_REQUESTS)})", ""),),
                    "number",
                    6,
                ),
                Panel(
                    "Answered",
                    "Share of fused requests that got an answer, of those whose client waited for it.",
                    "percentunit",
                    (Query(share(f"sum({rate(_ANSWERED)})", f"sum({rate(_WANTED)})"), ""),),
                    "number",
                    6,
                ),
                Panel(
                    "p99",
                    "Of a hundred fused requests, all but the slowest take less.",
                    "s",
                    (quantiles("ray_fusion_request_duration_seconds", OF_PRESET)[2],),
                    "number",
                    6,
                ),
                Panel(
                    "Spent in the last hour",
                    "What calls cost whose price is configured.",
                    "currencyUSD",
                    (Query(f"sum(increase(ray_fusion_cost_usd_total{{{OF_APPLICATION}}}[1h]))", ""),),
                    "number",
                    6,
                ),
            ),
        ),
        Row(
            "Requests",
            (
                Panel(
                    "Fused requests by preset",
                    "Requests a second.",
                    "reqps",
                    (Query(per("preset", rate(_REQUESTS)), "{{preset}}"),),
                    id=7,
                    stacked=True,
                ),
                Panel(
                    "Fused requests that failed, by outcome",
                    "Requests a second that got no answer.",
                    "reqps",
                    (
                        Query(
                            per(
                                "outcome",
                                rate(f'ray_fusion_requests_total{{{OF_PRESET},outcome!~"answered|cancelled"}}'),
                            ),
                            "{{outcome}}",
                        ),
                    ),
                    id=8,
                ),
                Panel(
                    "Degraded answers",
                    "Share of requests whose answer is less than was asked for, and why.",
                    "percentunit",
                    (
                        Query(
                            f"{per('degraded', rate(_DEGRADED))} / scalar(sum({rate(_REQUESTS)}) > 0)", "{{degraded}}"
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "Latency, p90 by preset",
                    "From the request to the end of the answer.",
                    "s",
                    (
                        Query(
                            "histogram_quantile(0.9, "
                            + per("le, preset", rate(f"ray_fusion_request_duration_seconds_bucket{{{OF_PRESET}}}"))
                            + ")",
                            "{{preset}}",
                        ),
                    ),
                    id=15,
                ),
                Panel(
                    "Latency",
                    "From the request to the end of the answer.",
                    "s",
                    quantiles("ray_fusion_request_duration_seconds", OF_PRESET),
                ),
                Panel(
                    "Time to the first token",
                    "Of streamed answers.",
                    "s",
                    quantiles("ray_fusion_time_to_first_token_seconds", OF_PRESET),
                ),
                Panel(
                    "Panel",
                    "From convening the panel until enough of it is in.",
                    "s",
                    quantiles("ray_fusion_panel_duration_seconds", OF_PRESET),
                ),
                Panel("Judge", "What judging takes.", "s", quantiles("ray_fusion_judge_duration_seconds", OF_PRESET)),
                Panel(
                    "Added over the slowest member",
                    "What fusing costs beyond the slowest member that was waited for.",
                    "s",
                    quantiles("ray_fusion_added_latency_seconds", OF_PRESET),
                ),
            ),
        ),
        Row(
            "Short cuts",
            (
                Panel(
                    "Agreement exits",
                    "Share of requests whose candidates agreed, so that no judge was asked.",
                    "percentunit",
                    (Query(share(per("preset", rate(_EXITS)), per("preset", rate(_REQUESTS))), "{{preset}}"),),
                ),
                Panel(
                    "Recordings",
                    "Fused requests a second that are recorded, and that are not because writing falls behind.",
                    "reqps",
                    (
                        Query(
                            f"sum(rate(ray_fusion_recordings_written_total{{{OF_APPLICATION}}}[$__rate_interval]))",
                            "recorded",
                        ),
                        Query(
                            f"sum(rate(ray_fusion_recordings_dropped_total{{{OF_APPLICATION}}}[$__rate_interval]))",
                            "dropped",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Serve",
            (
                Panel(
                    "HTTP requests under way",
                    "In Serve's proxies.",
                    "short",
                    (Query("sum(ray_serve_num_ongoing_http_requests)", "under way"),),
                    id=20,
                ),
                Panel(
                    "Calls under way in replicas",
                    "By deployment.",
                    "short",
                    (
                        Query(
                            per("deployment", f"ray_serve_replica_processing_queries{{{OF_APPLICATION}}}"),
                            "{{deployment}}",
                        ),
                    ),
                    id=21,
                ),
                Panel(
                    "Calls that wait for a replica",
                    "In Serve's own queues, by deployment.",
                    "short",
                    (
                        Query(
                            per("deployment", f"ray_serve_deployment_queued_queries{{{OF_APPLICATION}}}"),
                            "{{deployment}}",
                        ),
                    ),
                    id=22,
                ),
                Panel(
                    "Replicas that are up",
                    "By deployment.",
                    "short",
                    (
                        Query(
                            per("deployment", f"ray_serve_deployment_replica_healthy{{{OF_APPLICATION}}}"),
                            "{{deployment}}",
                        ),
                    ),
                    id=23,
                ),
                Panel(
                    "Control loop",
                    "Seconds a turn of Serve's controller takes.",
                    "s",
                    (Query("max(ray_serve_controller_control_loop_duration_s)", "turn"),),
                    id=24,
                ),
                Panel(
                    "Turns of the control loop",
                    "That Serve's controller made a second.",
                    "short",
                    (Query("sum(rate(ray_serve_controller_num_control_loops[$__rate_interval]))", "turns"),),
                    id=25,
                ),
            ),
        ),
    ),
)
