"""The dashboard of cost."""

from __future__ import annotations

from cluster.grafana.dashboards.variables import APPLICATION, MEMBER, OF_APPLICATION, OF_MEMBER
from cluster.grafana.panels import Dashboard, Panel, Query, Row, per, rate, share

_COST = f"ray_fusion_cost_usd_total{{{OF_MEMBER}}}"
_KINDS = f"ray_fusion_tokens_total{{{OF_MEMBER}}}"
# The other kinds are parts of these.
_TOKENS = f'ray_fusion_tokens_total{{{OF_MEMBER},kind=~"input|output"}}'

COST = Dashboard(
    uid="fusion-cost",
    title="Cost",
    description="Tokens and money, by member and by what they went into. Only members with a price cost anything here.",
    variables=(APPLICATION, MEMBER),
    rows=(
        Row(
            "Money",
            (
                Panel(
                    "An hour, at this rate",
                    "What it costs to go on like this.",
                    "currencyUSD",
                    (Query(f"sum({rate(_COST)}) * 3600", ""),),
                    "number",
                    8,
                ),
                Panel(
                    "The last day",
                    "What calls cost.",
                    "currencyUSD",
                    (Query(f"sum(increase({_COST}[1d]))", ""),),
                    "number",
                    8,
                ),
                Panel(
                    "A fused request",
                    "What one costs on average.",
                    "currencyUSD",
                    (
                        Query(
                            share(
                                f"sum({rate(_COST)})", f"sum({rate(f'ray_fusion_requests_total{{{OF_APPLICATION}}}')})"
                            ),
                            "",
                        ),
                    ),
                    "number",
                    8,
                ),
                Panel(
                    "Cost by member",
                    "US dollars an hour.",
                    "currencyUSD",
                    (Query(f"{per('member', rate(_COST))} * 3600", "{{member}}"),),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Cost by stage",
                    "US dollars an hour: panel, judge and the rest.",
                    "currencyUSD",
                    (Query(f"{per('stage', rate(_COST))} * 3600", "{{stage}}"),),
                    width=12,
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Tokens",
            (
                Panel(
                    "Tokens by member",
                    "A second.",
                    "short",
                    (Query(per("member", rate(_TOKENS)), "{{member}}"),),
                    stacked=True,
                ),
                Panel(
                    "Tokens by stage",
                    "A second.",
                    "short",
                    (Query(per("stage", rate(_TOKENS)), "{{stage}}"),),
                    stacked=True,
                ),
                Panel(
                    "Tokens by kind",
                    "A second: what is read and what is written; of these from a cache, and for thinking.",
                    "short",
                    (Query(per("kind", rate(_KINDS)), "{{kind}}"),),
                ),
            ),
        ),
    ),
)
