"""The dashboard of members."""

from __future__ import annotations

from cluster.grafana.dashboards.variables import APPLICATION, MEMBER, OF_MEMBER
from cluster.grafana.panels import Dashboard, Panel, Query, Row, per, rate, share


def _calls(metric: str) -> str:
    return f"ray_fusion_member_{metric}{{{OF_MEMBER}}}"


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
                    (Query(per("member", rate(f"ray_fusion_candidates_total{{{OF_MEMBER}}}")), "{{member}}"),),
                    stacked=True,
                ),
                Panel(
                    "Candidates by outcome",
                    "A loser that was cancelled is no failure.",
                    "ops",
                    (Query(per("outcome", rate(f"ray_fusion_candidates_total{{{OF_MEMBER}}}")), "{{outcome}}"),),
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
                                    rate(f'ray_fusion_candidates_total{{{OF_MEMBER},outcome!~"answered|cancelled"}}'),
                                ),
                                per("member", rate(f"ray_fusion_candidates_total{{{OF_MEMBER}}}")),
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
                                per("member", rate(_calls("limit_wait_seconds_total"))),
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
                    (_by_member("retries_total"), _by_member("retries_over_budget_total", "{{member}} over budget")),
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
