"""Panels that answer when they are told to, on the real clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fusion.chat import Message, Request, Sampling
from fusion.limits.call_stats import CallStats
from fusion.member import Member, MemberProfile
from fusion.presets import AgreementPolicy, Policy, Pool, Preset, Task
from fusion.results import Fused, Mode
from fusion.runtime.runner import fuse


def task_of(
    question: str,
    panel: Sequence[str],
    profiles: Mapping[str, MemberProfile],
    seed: int,
    *,
    mode: Mode = "merge",
    policy: Policy = Policy(),  # noqa: B008
    max_tokens: int | None = None,
    agreement: AgreementPolicy = AgreementPolicy(),  # noqa: B008
    prefill: bool = True,
) -> Task:
    preset = Preset("fusion/bench", mode, tuple(panel), ("judge",), policy, agreement=agreement, prefill=prefill)
    return Task(preset, Request((Message("user", question),), Sampling(max_tokens=max_tokens)), profiles, seed)


async def timed(
    task: Task, members: Mapping[str, Member], call_stats: CallStats | None, **more: Any
) -> tuple[Fused, float]:
    """The answer, and how many milliseconds it took."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    fused = await fuse(task, Pool(members, task.profiles, more.pop("prefilling", {})), call_stats=call_stats, **more)
    return fused, (loop.time() - began_at) * 1e3
