"""A plan as tables for people, and as JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import RenderableType
from rich.table import Table

from cluster.planning.engine import BUSY
from cluster.planning.gpus import GPUS
from cluster.planning.plan import DeploymentPlan, EnginePlan, Plan
from cluster.planning.throughput import ALL_REDUCE_S, COMPUTING, READING
from cluster.planning.workload import Load

_HOURS_A_MONTH = 730


def as_json(plan: Plan, load: Load | None) -> str:
    """Everything that is known, with null for what is not. `refusals` is empty when the plan can be."""
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
    """Tables, and lines below them that say what they rest on."""
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
            f"Speed is an estimate, not a promise: a roofline (Pope et al., arXiv 2211.05102) at {READING:.0%} of the "
            f"cards' bandwidth and {COMPUTING:.0%} of their arithmetic, {ALL_REDUCE_S * 1e6:.0f} µs for adding up a "
            f"layer over NVLink, full batches, nothing found in a prefix cache, replicas {BUSY:.0%} busy."
        )


def refused(plan: Plan) -> str:
    """Every refusal with its reason and what is nearest."""
    lines: list[str] = []
    for refusal in plan.refusals:
        lines.append(f"{refusal.where}: {refusal.reason}")
        first, *others = refusal.nearest or ("nothing that is known here fits",)
        lines.append(f"  nearest that can: {first}")
        lines += [f"  or: {other}" for other in others]
    return "\n".join(lines)


def _engine_parts(engine: EnginePlan, load: Load | None) -> Iterator[RenderableType]:
    memory, shape, cut = engine.memory, engine.shape, engine.sharding
    active = f", {_count(shape.active_parameters)} active" if shape.experts > 1 else ""
    yield f"[bold]{engine.backend}[/bold]: {engine.model}, {_count(shape.parameters())} parameters{active}"
    table = Table("GiB of each shard", "to give", "weights", "computing", "runtime", "KV cache")
    parts = (memory.budget_gib, memory.weights_gib, memory.activations_gib, memory.runtime_gib, memory.kv_cache_gib)
    shards = f"{cut.shards} shard{'s' if cut.shards > 1 else ''} ({cut.tensor} x {cut.pipeline})"
    table.add_row(shards, *(f"{gib:.1f}" for gib in parts))
    yield table
    yield (
        f"{memory.blocks} blocks of {memory.block_size} tokens, {memory.kv_bytes_per_token / 1024:g} KiB a token: "
        f"{engine.sequences} sequences of {engine.sequence_tokens} tokens fit at once"
    )
    if engine.speed and engine.requests_per_s:
        speed = engine.speed
        yield (
            f"one replica at {speed.batch} at once, estimated: {1 / speed.batch_token_s:,.0f} tokens/s, "
            f"{speed.token_s * 1000:.0f} ms between tokens, {1 / speed.prompt_token_s:,.0f} prompt tokens/s, "
            f"{engine.requests_per_s:.3g} fused requests/s"
        )
    elif load:
        yield "no estimate of its speed: what CPUs can read and compute is not known here"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"


def _deployments_table(plan: Plan) -> Table:
    table = Table("deployment", "replicas", "a replica takes", "GPUs", "nodes", "$/h", "$/month")
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
    table.add_row("all", "", "", str(gpus or "-"), str(nodes or "-"), *_money(total, known=not gpus))
    if gpus and total is None:
        table.caption = "a price is wanted: --gpu-hour-usd 2.50, or --gpu-hour-usd H100=2.50 for one type"
        table.caption_justify = "left"
    return table


def _needs(each: DeploymentPlan) -> str:
    replica = each.replica
    gpus = f"{replica.gpus} {replica.gpu} ({replica.gpu_memory_gib:.0f} GiB), " if replica.gpus else ""
    spread = f", over {replica.nodes} nodes" if replica.nodes > 1 else ""
    return f"{gpus}{replica.cpus:g} CPU, {replica.memory_gib:.1f} GiB{spread}"


def _money(usd_per_hour: float | None, *, known: bool) -> tuple[str, str]:
    if not usd_per_hour:
        return ("-", "-") if known else ("?", "?")
    return f"{usd_per_hour:,.2f}", f"{usd_per_hour * _HOURS_A_MONTH:,.0f}"


def prices_from(options: list[str]) -> dict[str, float]:
    """`H100=2.50` or `2.50` for every other type, as US dollars an hour.

    Raises:
        ValueError: it is neither.
    """
    prices: dict[str, float] = {}
    for option in options:
        kind, _, price = option.rpartition("=")
        if kind and kind not in GPUS:
            raise ValueError(f"the GPU {kind} is not known; known are {', '.join(GPUS)}")
        try:
            prices[kind] = float(price)
        except ValueError:
            raise ValueError(f"{option!r} is no price; write 2.50, or H100=2.50 for one type") from None
        if not prices[kind] >= 0:
            raise ValueError(f"{option!r} is no price: it is below 0")
    return prices
