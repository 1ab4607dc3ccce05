"""The dashboard of vLLM engines."""

from __future__ import annotations

from cluster.grafana.panels import Dashboard, Panel, Query, Row, Variable, per, quantiles, rate, share

_ENGINE = 'model_name=~"$model"'


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
