"""Formats a plan as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import RenderableType
from rich.table import Table

from cluster.planning.engine import TARGET_UTILIZATION
from cluster.planning.gpus import GPUS
from cluster.planning.plan import DeploymentPlan, EnginePlan, Plan
from cluster.planning.throughput import ALL_REDUCE_S, BANDWIDTH_EFFICIENCY, COMPUTE_EFFICIENCY
from cluster.planning.workload import Load

_HOURS_PER_MONTH = 730


NOT_VALIDATED = "Not validated on GPUs: the plan is computed, and no run on GPUs has confirmed it."


def as_json(plan: Plan, load: Load | None) -> str:
    """Returns the plan as JSON, with null for what is unknown. `refusals` is empty if everything fits."""
    engines = [
        asdict(engine)
        | {
            "parameters": engine.shape.parameters(),
            "active_parameters": engine.shape.active_parameters,
        }
        for engine in plan.engines
    ]
    return json.dumps(
        {
            "load": asdict(load) if load else None,
            "fits": not plan.refusals,
            "validated_on_gpus": False,
            "refusals": [asdict(refusal) for refusal in plan.refusals],
            "engines": engines,
            "deployments": [asdict(each) | {"gpus": each.gpus} for each in plan.deployments],
            "usd_per_hour": plan.usd_per_hour,
            "request_usd": plan.request_usd,
            "notes": plan.notes,
        },
        indent=2,
    )


def as_tables(plan: Plan, load: Load | None) -> Iterator[RenderableType]:
    """Yields tables, and below them the assumptions behind them."""
    for engine in plan.engines:
        yield from _engine_parts(engine, load)
    yield _deployments_table(plan)
    if load and any(each.name.startswith("remote:") for each in plan.deployments):
        charged = "an unknown sum: a price is missing" if plan.request_usd is None else f"{plan.request_usd:.4f} $"
        yield f"Remote members charge {charged} for one fused request."
    for note in plan.notes:
        yield f"Note: {note}."
    if any(engine.speed for engine in plan.engines):
        yield (
            f"Speed is an estimate: a roofline (Pope et al., arXiv 2211.05102) at {BANDWIDTH_EFFICIENCY:.0%} of the "
            f"cards' bandwidth and {COMPUTE_EFFICIENCY:.0%} of their FLOPS, {ALL_REDUCE_S * 1e6:.0f} µs per all-reduce "
            f"over NVLink, full batches, no hits in the prefix cache, replicas {TARGET_UTILIZATION:.0%} busy."
        )
    if plan.refusals or any(each.gpus for each in plan.deployments):
        yield NOT_VALIDATED


def refused(plan: Plan) -> str:
    """Returns every refusal with its reason and the nearest alternatives, as text."""
    lines: list[str] = []
    for refusal in plan.refusals:
        lines.append(f"{refusal.where}: {refusal.reason}")
        first, *others = refusal.nearest or ("nothing known here fits",)
        lines.append(f"  nearest that fits: {first}")
        lines += [f"  or: {other}" for other in others]
    return "\n".join(lines)


def _engine_parts(engine: EnginePlan, load: Load | None) -> Iterator[RenderableType]:
    memory, shape, cut = engine.memory, engine.shape, engine.sharding
    active = f", {_count(shape.active_parameters)} active" if shape.experts > 1 else ""
    yield f"[bold]{engine.backend}[/bold]: {engine.model}, {_count(shape.parameters())} parameters{active}"
    table = Table("GiB per shard", "available", "weights", "activations", "runtime", "KV cache")
    parts = (memory.budget_gib, memory.weights_gib, memory.activations_gib, memory.runtime_gib, memory.kv_cache_gib)
    shards = f"{cut.shards} shard{'s' if cut.shards > 1 else ''} ({cut.tensor} x {cut.pipeline})"
    table.add_row(shards, *(f"{gib:.1f}" for gib in parts))
    yield table
    yield (
        f"{memory.blocks} blocks of {memory.block_size} tokens, {memory.kv_bytes_per_token / 1024:g} KiB per token: "
        f"{engine.sequences} sequences of {engine.sequence_tokens} tokens fit at once"
    )
    if engine.speed and engine.requests_per_s:
        speed = engine.speed
        yield (
            f"one replica with {speed.batch} concurrent sequences, estimated: {1 / speed.batch_token_s:,.0f} tokens/s, "
            f"{speed.token_s * 1000:.0f} ms between tokens, {1 / speed.prompt_token_s:,.0f} prompt tokens/s, "
            f"{engine.requests_per_s:.3g} fused requests/s"
        )
    elif load:
        yield "no estimate of its speed: the bandwidth and FLOPS of CPUs are not known here"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"


def _deployments_table(plan: Plan) -> Table:
    table = Table("deployment", "replicas", "resources per replica", "GPUs", "nodes", "$/h", "$/month")
    for each in plan.deployments:
        table.add_row(
            each.name,
            f"{each.replicas} ({each.min_replicas} to {each.max_replicas})",
            _needs(each),
            str(each.gpus or "-"),
            str(each.nodes or "-"),
            *_money(each.usd_per_hour, known=not each.gpus),
        )
    total = plan.usd_per_hour
    gpus = sum(each.gpus for each in plan.deployments)
    table.add_section()
    nodes = sum(each.nodes for each in plan.deployments)
    table.add_row("total", "", "", str(gpus or "-"), str(nodes or "-"), *_money(total, known=not gpus))
    if gpus and total is None:
        table.caption = "add a price: --gpu-hour-usd 2.50, or --gpu-hour-usd H100=2.50 for one type"
        table.caption_justify = "left"
    return table


def _needs(each: DeploymentPlan) -> str:
    replica = each.replica
    gpus = f"{replica.gpus} {replica.gpu} ({replica.gpu_memory_gib:.0f} GiB), " if replica.gpus else ""
    spread = f", across {replica.nodes} nodes" if replica.nodes > 1 else ""
    return f"{gpus}{replica.cpus:g} CPU, {replica.memory_gib:.1f} GiB{spread}"


def _money(usd_per_hour: float | None, *, known: bool) -> tuple[str, str]:
    if not usd_per_hour:
        return ("-", "-") if known else ("?", "?")
    return f"{usd_per_hour:,.2f}", f"{usd_per_hour * _HOURS_PER_MONTH:,.0f}"


def prices_from(options: list[str]) -> dict[str, float]:
    """Parses prices of a GPU-hour in US dollars: `H100=2.50`, or `2.50` for every other type.

    Raises:
        ValueError: an option has another form.
    """
    prices: dict[str, float] = {}
    for option in options:
        kind, _, price = option.rpartition("=")
        if kind and kind not in GPUS:
            raise ValueError(f"the GPU type {kind} is not known; known are {', '.join(GPUS)}")
        try:
            prices[kind] = float(price)
        except ValueError:
            raise ValueError(f"{option!r} is not a price; write 2.50, or H100=2.50 for one type") from None
        if not prices[kind] >= 0:
            raise ValueError(f"{option!r} is not a price: it is below 0")
    return prices
