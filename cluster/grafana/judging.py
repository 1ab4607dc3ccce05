"""The dashboards of the judge and its autoscaling, of cost, and of engines."""

from __future__ import annotations

from cluster.grafana.overview import APPLICATION, MEMBER
from cluster.grafana.panels import Dashboard, Panel, Query, Row, Variable, per, quantiles, rate, share

_APP = 'application=~"$application"'
_DEPLOYMENT = f'{_APP},deployment=~"$Deployment",replica=~"$Replica"'
_MEMBER = f'{_APP},member=~"$member"'
_ENGINE = 'model_name=~"$model"'


def _judged(metric: str) -> str:
    return rate(f"ray_fusion_{metric}_total{{{_APP}}}")


def _of_verdicts(metric: str) -> str:
    return share(per("judge", _judged(metric)), per("judge", _judged("verdicts")))


def _deployments(metric: str, selector: str = _APP) -> str:
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
                Panel("Time to judge", "Of all presets.", "s", quantiles("ray_fusion_judge_s", _APP)),
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
                        Query(f"sum(ray_fusion_judge_running{{{_APP}}})", "all"),
                        Query(f"max(ray_fusion_judge_running{{{_APP}}})", "fullest replica"),
                    ),
                ),
                Panel(
                    "Waiting",
                    "Fused requests that wait in judge replicas.",
                    "short",
                    (
                        Query(f"sum(ray_fusion_judge_queued{{{_APP}}})", "all"),
                        Query(f"max(ray_fusion_judge_queued{{{_APP}}})", "fullest replica"),
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
                            f"max by (deployment) (ray_serve_autoscaling_target_replicas{{{_APP}}})", "{{deployment}}"
                        ),
                    ),
                ),
                Panel(
                    "Load that the policy sees",
                    "Calls under way and waiting.",
                    "short",
                    (Query(f"max by (deployment) (ray_serve_autoscaling_total_requests{{{_APP}}})", "{{deployment}}"),),
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

_COST = f"ray_fusion_cost_usd_total{{{_MEMBER}}}"
_KINDS = f"ray_fusion_tokens_total{{{_MEMBER}}}"
# The other kinds are parts of these.
_TOKENS = f'ray_fusion_tokens_total{{{_MEMBER},kind=~"input|output"}}'

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
                    (Query(share(f"sum({rate(_COST)})", f"sum({rate(f'ray_fusion_requests_total{{{_APP}}}')})"), ""),),
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


def _engine(metric: str) -> str:
    return f"ray_vllm_{metric}{{{_ENGINE}}}"


ENGINES = Dashboard(
    uid="fusion-engines",
    title="vLLM engines",
    description="What vLLM says of the engines in the members' replicas.",
    variables=(Variable("model", "Model", "ray_vllm_num_requests_running", "model_name"),),
    rows=(
        Row(
            "Load",
            (
                Panel(
                    "Sequences under way",
                    "By model.",
                    "short",
                    (Query(per("model_name", _engine("num_requests_running")), "{{model_name}}"),),
                ),
                Panel(
                    "Sequences that wait",
                    "By model.",
                    "short",
                    (Query(per("model_name", _engine("num_requests_waiting")), "{{model_name}}"),),
                ),
                Panel(
                    "KV cache in use",
                    "Of the fullest engine. At 100% sequences are put back.",
                    "percentunit",
                    (Query(f"max by (model_name) ({_engine('kv_cache_usage_perc')})", "{{model_name}}"),),
                ),
                Panel(
                    "Tokens",
                    "A second, read and written.",
                    "short",
                    (
                        Query(per("model_name", rate(_engine("prompt_tokens_total"))), "{{model_name}} read"),
                        Query(per("model_name", rate(_engine("generation_tokens_total"))), "{{model_name}} written"),
                    ),
                ),
                Panel(
                    "Prefix cache hits",
                    "Share of prompt tokens that were there already.",
                    "percentunit",
                    (
                        Query(
                            share(
                                per("model_name", rate(_engine("prefix_cache_hits_total"))),
                                per("model_name", rate(_engine("prefix_cache_queries_total"))),
                            ),
                            "{{model_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Sequences put back",
                    "A second, for want of KV cache.",
                    "ops",
                    (Query(per("model_name", rate(_engine("num_preemptions_total"))), "{{model_name}}"),),
                ),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "Time to the first token",
                    "In the engine.",
                    "s",
                    quantiles("ray_vllm_time_to_first_token_seconds", _ENGINE),
                ),
                Panel(
                    "Time a token",
                    "After the first.",
                    "s",
                    quantiles("ray_vllm_request_time_per_output_token_seconds", _ENGINE),
                ),
                Panel(
                    "Time in the queue",
                    "Before an engine begins.",
                    "s",
                    quantiles("ray_vllm_request_queue_time_seconds", _ENGINE),
                ),
                Panel(
                    "Time of a sequence",
                    "From its arrival to its end.",
                    "s",
                    quantiles("ray_vllm_e2e_request_latency_seconds", _ENGINE),
                ),
                Panel(
                    "Sequences that ended",
                    "A second, and why.",
                    "ops",
                    (Query(per("finished_reason", rate(_engine("request_success_total"))), "{{finished_reason}}"),),
                ),
            ),
        ),
    ),
)
