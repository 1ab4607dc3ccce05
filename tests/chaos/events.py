"""What may happen to a service, and how to see that it is over."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.scaling.service import Service, State, ongoing

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Happened:
    """What was done. `on_it` is how many requests or calls it had, None where nobody can say; `gone` are the processes
    that were killed, which have to be replaced: with as many of the same kind, where `kind` counts them."""

    on_it: int | None = None
    note: str = ""
    gone: frozenset[int] = frozenset()
    kind: Callable[[Service], set[int]] | None = None
    nodes_gone: frozenset[str] = frozenset()
    began_at: float = field(default_factory=time.monotonic)

    def over(self, service: Service, state: State) -> bool:
        """Whether the service is whole without what is gone."""
        if not state.whole:
            return False
        if any(each.pid in self.gone or each.node_id in self.nodes_gone for each in state.replicas):
            return False
        return self.kind is None or len(self.kind(service) - self.gone) >= len(self.gone)


Do = Callable[[Service], Happened]


def kill_replica(deployment: str) -> Do:
    """SIGKILL to the process of one of the deployment's replicas."""

    def do(service: Service) -> Happened:
        replicas = service.state().running(deployment)
        # What came past Serve it does not count.
        had = ongoing(replicas[:1]) if deployment == "judge" else []
        began_at = time.monotonic()
        os.kill(replicas[0].pid, signal.SIGKILL)
        pids = frozenset({replicas[0].pid})
        return Happened(had[0] if had else None, f"one of {len(replicas)}", pids, began_at=began_at)

    return do


def kill_haproxy(service: Service) -> Happened:
    pids = _haproxies(service)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return Happened(gone=frozenset(pids), kind=_haproxies)


def kill_manager(service: Service) -> Happened:
    pid = service.proxy_pid()
    os.kill(pid, signal.SIGKILL)
    return Happened(gone=frozenset({pid}), kind=lambda now: {now.proxy_pid()})


def kill_controller(service: Service) -> Happened:
    pid = service.controller_pid()
    os.kill(pid, signal.SIGKILL)
    return Happened(gone=frozenset({pid}), kind=lambda now: {now.controller_pid()})


def _haproxies(service: Service) -> set[int]:
    return {each.pid for each in service.haproxies()}


def apply(change: Callable[[Document], None]) -> Do:
    """`fusion apply` of a changed configuration; the note says which deployments' replicas it replaced."""

    def do(service: Service) -> Happened:
        before = {replica.id: replica.deployment for replica in service.state().replicas}
        began_at = time.monotonic()
        done = service.apply(change)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        after = {replica.id for replica in service.state().replicas}
        replaced = sorted({deployment for id_, deployment in before.items() if id_ not in after})
        return Happened(note=f"replaced or ended: {', '.join(replaced) or 'none'}", began_at=began_at)

    return do


def another_preset(document: Document) -> None:
    document["presets"]["fusion/merge"] |= {"panel": ["one", "two"], "quorum": 1}


def another_voice(document: Document) -> None:
    document["members"]["two"] |= {"temperature": 0.3, "system": "Be terse."}


def another_backend(document: Document) -> None:
    document["backends"]["single"]["timeouts"] = {"total_s": 31}


def fewer_replicas(document: Document) -> None:
    document["judge"]["replicas"] = {"min": 1, "max": 1}
    document["backends"]["pair"]["replicas"] = {"min": 1, "max": 1}


def kill_node(cluster: Any, node: Any) -> Do:
    """SIGKILL to every process of one node of a `ray.cluster_utils.Cluster`."""

    def do(service: Service) -> Happened:
        held = [each for each in service.state().replicas if each.node_id == node.node_id]
        names = ", ".join(sorted({each.deployment for each in held}))
        had = ongoing([each for each in held if each.deployment == "judge"])
        (raylet,) = node.all_processes["raylet"]
        processes = psutil.Process(raylet.process.pid).children(recursive=True)
        proxies = [process for process in processes if process.name() == "haproxy"]
        began_at = time.monotonic()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        cluster.remove_node(node, allow_graceful=False)
        note = f"it held {len(held)} replicas ({names}) and {len(proxies)} HAProxy"
        return Happened(sum(had), note, nodes_gone=frozenset({node.node_id}), began_at=began_at)

    return do
