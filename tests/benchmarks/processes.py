"""What the processes of one contender use, by what they are for."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

MARK = "FUSION_BENCH_CONTENDER"
"""The environment variable that a contender's processes inherit, whoever their parent is by then."""

_KINDS = (
    (re.compile(r"ServeReplica:\w+:judge"), "judge replica"),
    (re.compile(r"ServeReplica:\w+:remote"), "member replicas"),
    (re.compile(r"ProxyActor|HAProxyManager|/haproxy|^haproxy"), "HTTP proxy"),
    (re.compile(r"litellm"), "LiteLLM proxy"),
    (re.compile(r"council\.py"), "council"),
    (re.compile(r"optillm"), "optillm"),
    (re.compile(r"ray|gcs_server|cluster\.|untuned|bin/fusion"), "Ray and Serve"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since their start and resident bytes, by kind of process."""

    cpu_s: Mapping[str, float]
    resident_bytes: Mapping[str, int]

    @property
    def all_resident_bytes(self) -> int:
        return sum(self.resident_bytes.values())

    def cpu_ms_since(self, before: Usage) -> dict[str, float]:
        """CPU milliseconds used since then."""
        return {kind: (used_s - before.cpu_s.get(kind, 0.0)) * 1e3 for kind, used_s in self.cpu_s.items()}


def marked(mark: str) -> Iterator[psutil.Process]:
    """Every process that carries this mark."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                yield process
        except (psutil.Error, OSError):
            continue


def usage_of(processes: list[psutil.Process]) -> Usage:
    """What these processes used so far; those that ended meanwhile are left out."""
    cpu_s: Counter[str] = Counter()
    resident_bytes: Counter[str] = Counter()
    for process in processes:
        try:
            with process.oneshot():
                kind = _kind_of(" ".join(process.cmdline()))
                times = process.cpu_times()
                cpu_s[kind] += times.user + times.system
                resident_bytes[kind] += process.memory_info().rss
        except psutil.Error:
            continue
    return Usage(dict(cpu_s), dict(resident_bytes))


def end(mark: str) -> None:
    """End every process with the mark, and wait until they are gone."""
    for stop in ("terminate", "kill", "kill"):
        found = list(marked(mark))
        for process in found:
            try:
                getattr(process, stop)()
            except psutil.Error:
                continue
        psutil.wait_procs(found, timeout=20)


def _kind_of(command: str) -> str:
    return next((kind for pattern, kind in _KINDS if pattern.search(command)), "other")
