"""`make chaos`: what fails, and for how long, when a part of the service is killed, changed or taken away under load.

    python -m tests.chaos.chaos [--out FOLDER] [--only NAME ...] [--clients N]

One Ray node carries the service behind HAProxy, and in the end two Ray nodes on this machine do. Closed-loop clients
ask all the time; two more are OpenAI's own, with the retries that it makes by default.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.scaling.load import OK, Load, counted, quantile
from tests.scaling.machine import machine
from tests.scaling.service import KEY, Service, ongoing, serving, wait_until_whole

PANEL_MS = (200, 300, 400)
JUDGE_MS = 300
STEADY_S = 4.0
"""How long the load runs before anything happens to the service, and after it is whole again."""
WHOLE_WITHIN_S = 90.0
_POLL_S = 0.2

Body = dict[str, Any]
BODY: Body = {"model": "fusion/merge", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}


@dataclass(frozen=True, slots=True)
class Row:
    """What one event did.

    `on_it` is how many requests or calls the thing had when it was killed, None where that has no meaning. `failed`
    counts plain clients' requests by what they ended with, `failed_after_retries` those of OpenAI's clients. `whole_s`
    is how long it took until every replica ran again and the last failure was over, None when that did not come.
    """

    event: str
    on_it: int | None
    answered: int
    failed: dict[str, int]
    failed_after_retries: int
    hung: int
    p50_s: float | None
    slowest_s: float | None
    whole_s: float | None
    note: str = ""


Do = Callable[[Service], tuple[int | None, str]]
"""Makes something happen. Returns what the thing had under way, and a note."""


def kill_replica(deployment: str) -> Do:
    """SIGKILL to the process of one of the deployment's replicas."""

    def do(service: Service) -> tuple[int | None, str]:
        victims = service.state().running(deployment)
        had = ongoing(victims[:1])
        os.kill(victims[0].pid, signal.SIGKILL)
        return (had[0] if had else None), f"one of {len(victims)}"

    return do


def kill_haproxy(service: Service) -> tuple[int | None, str]:
    processes = service.haproxies()
    for process in processes:
        process.kill()
    return None, f"{len(processes)} process"


def kill_proxy(service: Service) -> tuple[int | None, str]:
    os.kill(service.proxy_pid(), signal.SIGKILL)
    return None, "the actor that looks after HAProxy" if service.haproxy else "Serve's own proxy"


def kill_controller(service: Service) -> tuple[int | None, str]:
    os.kill(service.controller_pid(), signal.SIGKILL)
    return None, ""


def apply(change: Callable[[dict[str, Any]], None]) -> Do:
    """`fusion apply` of a changed configuration; the note says which replicas it replaced."""

    def do(service: Service) -> tuple[int | None, str]:
        before = {replica.id: replica for replica in service.state().replicas}
        began_at = time.monotonic()
        done = service.apply(change)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        after = {replica.id for replica in service.state().replicas}
        gone = sorted({replica.deployment for id_, replica in before.items() if id_ not in after})
        kept = sorted({replica.deployment for id_, replica in before.items() if id_ in after})
        took_s = time.monotonic() - began_at
        return None, f"replaced: {', '.join(gone) or 'none'}; kept: {', '.join(kept)}; applied in {took_s:.0f} s"

    return do


def another_preset(document: dict[str, Any]) -> None:
    document["presets"]["fusion/merge"] |= {"panel": ["one", "two"], "quorum": 1}


def another_member(document: dict[str, Any]) -> None:
    document["members"]["two"]["temperature"] = 0.3


def fewer_replicas(document: dict[str, Any]) -> None:
    document["judge"]["replicas"] = {"min": 1, "max": 1}
    document["backends"]["pair"]["replicas"] = {"min": 1, "max": 1}


async def happening(name: str, service: Service, load: Load, do: Do) -> Row:
    """Let it happen under load, and wait until the service is whole again."""
    await asyncio.to_thread(wait_until_whole, service)
    await asyncio.sleep(STEADY_S)
    first, began_at = len(load.outcomes), time.monotonic()
    on_it, note = await asyncio.to_thread(do, service)
    whole_at = await _whole_again(service, began_at)
    await asyncio.sleep(STEADY_S)
    seen = load.outcomes[first:]
    plain = [outcome for outcome in seen if not outcome.retrying]
    failed = {how: count for how, count in sorted(counted(plain).items()) if how != OK}
    last_failure = max((outcome.ended_at for outcome in seen if outcome.how != OK), default=began_at)
    took = [outcome.took_s for outcome in seen]
    return Row(
        event=name,
        on_it=on_it,
        answered=counted(plain)[OK],
        failed=failed,
        failed_after_retries=sum(1 for outcome in seen if outcome.retrying and outcome.how != OK),
        hung=failed.get("hung", 0),
        p50_s=quantile(seen, 0.5),
        slowest_s=max(took, default=None),
        whole_s=None if whole_at is None else round(max(whole_at, last_failure) - began_at, 1),
        note=note,
    )


async def _whole_again(service: Service, began_at: float) -> float | None:
    """When the service was whole again: it has to be seen not to be first, or to stay whole for a while."""
    whole_since: float | None = None
    while (now := time.monotonic()) < began_at + WHOLE_WITHIN_S:
        try:
            async with asyncio.timeout(5):
                whole = (await asyncio.to_thread(service.state)).whole
        except Exception:  # the controller may be what is gone
            whole = False
        whole_since = (whole_since or now) if whole else None
        if whole_since is not None and now - whole_since > 3.0:
            return whole_since
        await asyncio.sleep(_POLL_S)
    return None


@contextmanager
def two_nodes() -> Iterator[tuple[str, Do]]:
    """A Ray cluster of two nodes on this machine: its address, and what kills the node that is not the head."""
    from ray.cluster_utils import Cluster

    from cluster.lifecycle import _environment
    from cluster.processes import mark_run, sweep

    mark = mark_run()
    os.environ |= _environment(True)
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    other: Any = cluster.add_node(num_cpus=4)
    cluster.wait_for_nodes()

    def kill(service: Service) -> tuple[int | None, str]:
        held = [each for each in service.state().replicas if each.node_id == other.node_id]
        names = ", ".join(sorted({each.deployment for each in held}))
        had = ongoing([each for each in held if each.deployment == "judge"])
        cluster.remove_node(other, allow_graceful=False)
        return sum(had), f"it held {len(held)} replicas ({names}) and a proxy; on it: requests of its judge"

    try:
        yield cluster.address, kill
    finally:
        with contextlib.suppress(Exception):
            import ray

            ray.shutdown()
            cluster.shutdown()
        sweep(mark)


ON_ONE_NODE: dict[str, Do] = {
    "a panel member's replica, one of two": kill_replica("member:one"),
    "a panel member's only replica": kill_replica("member:two"),
    "the judge model's replica, one of two": kill_replica("member:writer"),
    "a judge replica, one of two": kill_replica("judge"),
    "HAProxy": kill_haproxy,
    "HAProxy's supervisor": kill_proxy,
    "Serve's controller": kill_controller,
    "a changed preset, applied": apply(another_preset),
    "a changed member, applied": apply(another_member),
    "drained and scaled down": apply(fewer_replicas),
}
NODE = "a Ray node with members"
EVENTS = (*ON_ONE_NODE, NODE)
PAIRS: dict[str, Any] = {
    "panel_ms": PANEL_MS,
    "judge_ms": JUDGE_MS,
    "backends__pair__replicas": {"min": 2, "max": 2},
    "judge__replicas": {"min": 2, "max": 2},
}


async def under_load(service: Service, events: dict[str, Do], clients: int, report: Callable[[str], None]) -> list[Row]:
    """One event after the other, on one service."""
    rows: list[Row] = []
    async with Load(service.url, BODY, KEY) as load:
        load.add_retrying_client()
        load.add_retrying_client()
        await load.clients(clients + 2)
        for name, do in events.items():
            report(name)
            rows.append(await happening(name, service, load, do))
            report(f"  {rows[-1]}")
    return rows


def run(only: list[str], clients: int, report: Callable[[str], None], *, haproxy: bool = True) -> list[Row]:
    """All events, or those named."""
    rows: list[Row] = []
    chosen = {name: do for name, do in ON_ONE_NODE.items() if not only or name in only}
    if chosen:
        report("starting the service")
        with serving(haproxy, **PAIRS) as service:
            rows += asyncio.run(under_load(service, chosen, clients, report))
    if not only or NODE in only:
        report("starting the service on two nodes")
        with two_nodes() as (address, kill), serving(False, address, **PAIRS) as service:
            rows += asyncio.run(under_load(service, {NODE: kill}, clients, report))
    return rows


HEADINGS = (
    "event",
    "on it then",
    "answered",
    "failed",
    "failed after OpenAI's retries",
    "hung",
    "median, slowest",
    "whole again after",
    "",
)


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    failed = ", ".join(f"{count} x {how}" for how, count in row.failed.items()) or "0"
    took = "-" if row.p50_s is None else f"{row.p50_s:.2f} s, {row.slowest_s:.1f} s"
    whole = "not within 90 s" if row.whole_s is None else f"{row.whole_s:.1f} s"
    on_it = "-" if row.on_it is None else str(row.on_it)
    return (
        row.event,
        on_it,
        str(row.answered),
        failed,
        str(row.failed_after_retries),
        str(row.hung),
        took,
        whole,
        row.note,
    )


def markdown(rows: list[Row], clients: int) -> str:
    """The table for the documentation."""
    lines = ["| " + " | ".join(line) + " |" for line in (HEADINGS, ("---",) * len(HEADINGS), *map(cells, rows))]
    where = f"{clients} closed-loop clients and two of OpenAI's own. {machine()}."
    return "\n".join([*lines, "", where, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/chaos"))
    parser.add_argument("--only", nargs="*", default=[], choices=EVENTS, metavar="NAME")
    parser.add_argument("--clients", type=int, default=16)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    rows = run(asked.only, asked.clients, lambda line: print(line, file=sys.stderr, flush=True))
    table = Table(*HEADINGS, title=machine())
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    (asked.out / "chaos.json").write_text(
        json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1)
    )
    (asked.out / "chaos.md").write_text(markdown(rows, asked.clients))
    return 0 if all(row.whole_s is not None and not row.hung for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
