"""`make chaos`: what fails, and for how long, when a part of the service is killed, changed or taken away under load.

    python -m tests.chaos.chaos [--out FOLDER] [--only NAME ...] [--clients N]

One Ray node carries the service, and in the end two Ray nodes on this machine do. Closed-loop clients ask all the time;
two more are OpenAI's own, with the retries that it makes by default.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos import events
from tests.chaos.events import Do, Happened
from tests.scaling.load import OK, Load, counted, quantile
from tests.scaling.machine import machine
from tests.scaling.service import KEY, KEYS_ENV, Service, serving, wait_until_whole

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

    `on_it` is how many requests the thing had when it was killed, None where nobody can say; `in_flight` how many
    there were at all. `failed` counts plain clients' requests by what they ended with, `failed_after_retries` those of
    OpenAI's clients. `failing_s` is from the event to the end of the last request that failed, None when none did.
    `whole_s` is how long it took until every replica and process that is meant to be there was, and the last failure
    over, None when that did not come.
    """

    event: str
    on_it: int | None
    in_flight: int
    answered: int
    failed: dict[str, int]
    failed_after_retries: int
    hung: int
    failing_s: float | None
    p50_s: float | None
    slowest_s: float | None
    whole_s: float | None
    note: str = ""


async def happening(name: str, service: Service, load: Load, do: Do, steady_s: float = STEADY_S) -> Row:
    """Let it happen under load, and wait until the service is whole again."""
    await asyncio.to_thread(wait_until_whole, service)
    await asyncio.sleep(steady_s)
    first, in_flight = len(load.outcomes), load.in_flight
    happened = await asyncio.to_thread(do, service)
    whole_at = await _whole_again(service, happened)
    await asyncio.sleep(steady_s)
    seen = load.outcomes[first:]
    plain = [outcome for outcome in seen if not outcome.retrying]
    failed = {how: count for how, count in sorted(counted(plain).items()) if how != OK}
    failures = [outcome.ended_at - happened.began_at for outcome in plain if outcome.how != OK]
    failing_s = max(failures, default=None)
    whole_s = None if whole_at is None else max(whole_at - happened.began_at, failing_s or 0.0)
    return Row(
        event=name,
        on_it=happened.on_it,
        in_flight=in_flight,
        answered=counted(plain)[OK],
        failed=failed,
        failed_after_retries=sum(1 for outcome in seen if outcome.retrying and outcome.how != OK),
        hung=failed.get("hung", 0),
        failing_s=None if failing_s is None else round(failing_s, 2),
        p50_s=quantile(seen, 0.5),
        slowest_s=max((outcome.took_s for outcome in seen), default=None),
        whole_s=None if whole_s is None else round(whole_s, 1),
        note=happened.note,
    )


async def _whole_again(service: Service, happened: Happened) -> float | None:
    """When the service was seen to be whole without what is gone."""
    while (now := time.monotonic()) < happened.began_at + WHOLE_WITHIN_S:
        with suppress(Exception):  # the controller may be what is gone
            async with asyncio.timeout(5):
                if await asyncio.to_thread(lambda: happened.over(service, service.state())):
                    return now
        await asyncio.sleep(_POLL_S)
    return None


@contextmanager
def two_nodes() -> Iterator[tuple[str, Do]]:
    """A Ray cluster of two nodes on this machine: its address, and what kills the node that is not the head."""
    from ray.cluster_utils import Cluster

    from cluster.serving.processes import kill_marked, mark_run
    from cluster.serving.startup import environment

    mark = mark_run()
    # A cluster writes down where it is for whoever looks for one; nobody else should find this one.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    # On one machine both nodes' HAProxy listen on one port, and share its connections.
    os.environ |= environment(True) | {"SERVE_SOCKET_REUSE_PORT_ENABLED": "1", "RAY_TMPDIR": folder, KEYS_ENV: KEY}
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    other: Any = cluster.add_node(num_cpus=4)
    cluster.wait_for_nodes()
    try:
        yield cluster.address, events.kill_node(cluster, other)
    finally:
        with suppress(Exception):
            import ray

            ray.shutdown()
            cluster.shutdown()
        kill_marked(mark)
        shutil.rmtree(folder, ignore_errors=True)


ON_ONE_NODE: dict[str, Do] = {
    "a backend's replica, one of two (a panel member and the judge model)": events.kill_replica("remote:pair"),
    "a backend's only replica (two panel members)": events.kill_replica("remote:single"),
    "a judge replica, one of two": events.kill_replica("judge"),
    "HAProxy": events.kill_haproxy,
    "the actor that starts HAProxy": events.kill_manager,
    "Serve's controller": events.kill_controller,
    "a changed preset, applied": events.apply(events.another_preset),
    "a changed voice, applied": events.apply(events.another_voice),
    "a changed backend, applied": events.apply(events.another_backend),
    "drained and scaled down": events.apply(events.fewer_replicas),
}
NODE = "a Ray node with members"
EVENTS = (*ON_ONE_NODE, NODE)
PAIRS: dict[str, Any] = {
    "panel_ms": PANEL_MS,
    "judge_ms": JUDGE_MS,
    "backends__pair__replicas": {"min": 2, "max": 2},
    "judge__replicas": {"min": 2, "max": 2},
}


async def under_load(
    service: Service, chosen: dict[str, Do], clients: int, report: Callable[[str], None], rows: list[Row]
) -> None:
    """One event after the other, on one service; each has a row once it is over."""
    async with Load(service.url, BODY, KEY) as load:
        load.add_retrying_client()
        load.add_retrying_client()
        await load.clients(clients + 2)
        for name, do in chosen.items():
            report(name)
            rows.append(await happening(name, service, load, do))
            report(f"  {rows[-1]}")


def run(only: list[str], clients: int, report: Callable[[str], None], rows: list[Row]) -> None:
    """All events, or those named; each has a row once it is over."""
    chosen = {name: do for name, do in ON_ONE_NODE.items() if not only or name in only}
    if chosen:
        report("starting the service")
        with serving(**PAIRS) as service:
            asyncio.run(under_load(service, chosen, clients, report, rows))
    if not only or NODE in only:
        report("starting the service on two nodes")
        with two_nodes() as (address, kill), serving(address, **PAIRS) as service:
            asyncio.run(under_load(service, {NODE: kill}, clients, report, rows))


HEADINGS = (
    "event",
    "on it then, of all",
    "answered",
    "failed",
    "the last after",
    "failed with OpenAI's retries",
    "hung",
    "median, slowest",
    "whole again after",
    "",
)


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    return (
        row.event,
        f"{'-' if row.on_it is None else row.on_it} of {row.in_flight}",
        str(row.answered),
        ", ".join(f"{count} x {how}" for how, count in row.failed.items()) or "0",
        "-" if row.failing_s is None else f"{row.failing_s:.1f} s",
        str(row.failed_after_retries),
        str(row.hung),
        "-" if row.p50_s is None else f"{row.p50_s:.2f} s, {row.slowest_s:.1f} s",
        f"not within {WHOLE_WITHIN_S:.0f} s" if row.whole_s is None else f"{row.whole_s:.1f} s",
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
    rows: list[Row] = []
    try:
        run(asked.only, asked.clients, lambda line: print(line, file=sys.stderr, flush=True), rows)
    finally:
        tell(rows, asked.out, asked.clients)
    return 0 if all(row.whole_s is not None and not row.hung for row in rows) else 1


def tell(rows: list[Row], out: Path, clients: int) -> None:
    """Print what was found, and write it down."""
    table = Table(*HEADINGS, title=machine())
    for row in rows:
        table.add_row(*cells(row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    content = {"machine": machine(), "clients": clients, "rows": [asdict(row) for row in rows]}
    (out / "chaos.json").write_text(json.dumps(content, indent=1))
    (out / "chaos.md").write_text(markdown(rows, clients))


if __name__ == "__main__":
    sys.exit(main())
