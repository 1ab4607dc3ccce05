"""The dashboard to look at first, and the one of members."""

from __future__ import annotations

from cluster.grafana.panels import Dashboard, Panel, Query, Row, Variable, per, quantiles, rate, share

APPLICATION = Variable("application", "Application", "ray_fusion_requests_total", "application")
PRESET = Variable("preset", "Preset", "ray_fusion_requests_total", "preset")
MEMBER = Variable("member", "Member", "ray_fusion_candidates_total", "member")
DEGRADED = 'degraded!~"|no|none"'
"""Fused requests whose answer is less than was asked for."""
_OF = 'application=~"$application",preset=~"$preset"'
_MEMBER = 'application=~"$application",member=~"$member"'
_CALLS = "ray_fusion_member"

_REQUESTS = f"ray_fusion_requests_total{{{_OF}}}"
_WANTED = f'ray_fusion_requests_total{{{_OF},outcome!="cancelled"}}'
_ANSWERED = f'ray_fusion_requests_total{{{_OF},outcome="answered"}}'
_DEGRADED = f"ray_fusion_requests_total{{{_OF},{DEGRADED}}}"
_EXITS = f"ray_fusion_agreement_exits_total{{{_OF}}}"

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
                    (quantiles("ray_fusion_request_s", _OF)[2],),
                    "number",
                    6,
                ),
                Panel(
                    "Spent in the last hour",
                    "What calls cost whose price is configured.",
                    "currencyUSD",
                    (Query('sum(increase(ray_fusion_cost_usd_total{application=~"$application"}[1h]))', ""),),
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
                            per("outcome", rate(f'ray_fusion_requests_total{{{_OF},outcome!~"answered|cancelled"}}')),
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
                            + per("le, preset", rate(f"ray_fusion_request_s_bucket{{{_OF}}}"))
                            + ")",
                            "{{preset}}",
                        ),
                    ),
                    id=15,
                ),
                Panel(
                    "Latency", "From the request to the end of the answer.", "s", quantiles("ray_fusion_request_s", _OF)
                ),
                Panel(
                    "Time to the first token", "Of streamed answers.", "s", quantiles("ray_fusion_first_token_s", _OF)
                ),
                Panel(
                    "Panel",
                    "From convening the panel until enough of it is in.",
                    "s",
                    quantiles("ray_fusion_panel_s", _OF),
                ),
                Panel("Judge", "What judging takes.", "s", quantiles("ray_fusion_judge_s", _OF)),
                Panel(
                    "Added over the slowest member",
                    "What fusing costs beyond the slowest member that was waited for.",
                    "s",
                    quantiles("ray_fusion_added_s", _OF),
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
                    "Traces",
                    "Fused requests a second that are recorded, and that are not because writing falls behind.",
                    "reqps",
                    (
                        Query(
                            'sum(rate(ray_fusion_traces_recorded_total{application=~"$application"}[$__rate_interval]))',
                            "recorded",
                        ),
                        Query(
                            'sum(rate(ray_fusion_traces_dropped_total{application=~"$application"}[$__rate_interval]))',
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
                            per("deployment", 'ray_serve_replica_processing_queries{application=~"$application"}'),
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
                            per("deployment", 'ray_serve_deployment_queued_queries{application=~"$application"}'),
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
                            per("deployment", 'ray_serve_deployment_replica_healthy{application=~"$application"}'),
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


def _calls(metric: str) -> str:
    return f"{_CALLS}_{metric}{{{_MEMBER}}}"


def _by_member(metric: str, legend: str = "{{member}}") -> Query:
    selector = _calls(metric)
    return Query(per("member", rate(selector) if metric.endswith("_total") else selector), legend)


MEMBERS = Dashboard(
    uid="fusion-members",
    title="Members",
    description="How each member answers, and what the wrappers around it do.",
    variables=(APPLICATION, MEMBER),
    rows=(
        Row(
            "Candidates",
            (
                Panel(
                    "Candidates by member",
                    "Candidates a second.",
                    "ops",
                    (Query(per("member", rate(f"ray_fusion_candidates_total{{{_MEMBER}}}")), "{{member}}"),),
                    stacked=True,
                ),
                Panel(
                    "Candidates by outcome",
                    "A loser that was cancelled is no failure.",
                    "ops",
                    (Query(per("outcome", rate(f"ray_fusion_candidates_total{{{_MEMBER}}}")), "{{outcome}}"),),
                    stacked=True,
                ),
                Panel(
                    "Candidates that failed",
                    "Share of a member's candidates.",
                    "percentunit",
                    (
                        Query(
                            share(
                                per(
                                    "member",
                                    rate(f'ray_fusion_candidates_total{{{_MEMBER},outcome!~"answered|cancelled"}}'),
                                ),
                                per("member", rate(f"ray_fusion_candidates_total{{{_MEMBER}}}")),
                            ),
                            "{{member}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Breakers, limits, retries",
            (
                Panel(
                    "Breaker",
                    "0 closed, 1 half-open, 2 open: the worst of a member's replicas.",
                    "short",
                    (Query(f"max by (member) ({_calls('breaker_state')})", "{{member}}"),),
                ),
                Panel(
                    "Refused by an open breaker",
                    "Calls a second that were not made.",
                    "ops",
                    (_by_member("breaker_refusals_total"),),
                ),
                Panel(
                    "Under way and waiting",
                    "Calls within the backend's limits.",
                    "short",
                    (
                        _by_member("limit_running", "{{member}} under way"),
                        _by_member("limit_queued", "{{member}} waiting"),
                    ),
                ),
                Panel(
                    "Waited for a turn",
                    "Seconds a call that had to wait.",
                    "s",
                    (
                        Query(
                            share(
                                per("member", rate(_calls("limit_waited_s_total"))),
                                per("member", rate(_calls("limit_waits_total"))),
                            ),
                            "{{member}}",
                        ),
                    ),
                ),
                Panel(
                    "Refused by a limit",
                    "Calls a second to which no turn came in time.",
                    "ops",
                    (_by_member("limit_refusals_total"),),
                ),
                Panel(
                    "Retries",
                    "Calls a second that were repeated, and that the budget did not allow to repeat.",
                    "ops",
                    (_by_member("retries_total"), _by_member("retries_unaffordable_total", "{{member}} unaffordable")),
                ),
            ),
        ),
        Row(
            "Hedges and stand-ins",
            (
                Panel(
                    "Second calls",
                    "Made because the first was slow, and how many of them won.",
                    "ops",
                    (_by_member("hedges_total"), _by_member("hedges_won_total", "{{member}} won")),
                ),
                Panel(
                    "Stand-ins",
                    "Calls a second to them, and how many of those answered.",
                    "ops",
                    (_by_member("fallbacks_total"), _by_member("fallbacks_answered_total", "{{member}} answered")),
                ),
                Panel(
                    "Budgets",
                    "Repetitions and second calls that are allowed now.",
                    "short",
                    (
                        _by_member("retry_budget_left", "{{member}} retries"),
                        _by_member("hedge_budget_left", "{{member}} second calls"),
                    ),
                ),
            ),
        ),
    ),
)
