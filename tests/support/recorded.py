"""Fused requests to record, made by real panels."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deployments.recordings.fused_request import Account, FusedRequest
from deployments.recordings.row import Content, RowEncoder
from fusion.errors import FusionError, MemberUnavailable
from fusion.member import Member
from fusion.pricing import Price
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import favouring, profile, scene

NOON = 1_764_072_000.0
"""2025-11-25 12:00 UTC."""
PRICED = {name: profile(name, price=Price(1.0, 2.0)) for name in ("ada", "bob", "cyd", "judge")}


def panel() -> dict[str, Member]:
    """Two members that answer, one that does not, and a judge that favours the first."""
    return {
        "ada": ScriptedMember(Answer("It is four."), delay_s=0.2),
        "bob": ScriptedMember(Answer("It is five, or thereabouts."), delay_s=0.3),
        "cyd": ScriptedMember(Fail(MemberUnavailable("no connection"))),
        "judge": ScriptedMember(favouring("It is four."), delay_s=0.4),
    }


async def fused_request(
    members: Mapping[str, Member] | None = None,
    mode: Any = "best-of",
    *,
    name: str = "request-1",
    arrived_at: float = NOON,
    **settings: Any,
) -> FusedRequest:
    """What a panel makes of a question, as it is recorded."""
    account = Account()
    task, pool = scene(members or panel(), mode, **{"quorum": 2, "profiles": PRICED, **settings})
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    fused, failure = None, None
    try:
        fused = await fuse(task, pool, observers=[account])
    except FusionError as error:
        failure = error
    took_ms = (loop.time() - started_at) * 1e3
    return FusedRequest(name, None, "fusion/test", False, task, arrived_at, 0.5, took_ms, account, fused, failure)


def recorded(folder: Path, requests: Sequence[FusedRequest], content: Content = "full", key: bytes = b"") -> Path:
    """A Parquet file with these requests, in the place for its day."""
    day = folder / "day=2025-11-25"
    day.mkdir(parents=True, exist_ok=True)
    target = day / f"20251125T120000-replica-{len(list(day.iterdir())):05}.parquet"
    recording = RowEncoder(content, key, {"replica": "replica", "config_hash": "0123456789abcdef"})
    pq.write_table(pa.Table.from_batches([recording.batch(requests)]), target)
    return target
