"""Counting prompts with members' own tokenizers, where their length alone does not say enough."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fusion.askable import heard_by_panel, in_doubt
from fusion.errors import MemberError
from fusion.preset import Pool, Task
from fusion.prompt_size import size_bytes
from fusion.values import Call

PATIENCE_S = 5.0
"""How long a tokenizer may take. One that takes longer counts as none."""


async def counted(task: Task, pool: Pool, left_s: float) -> Mapping[str, int]:
    """The prompt's tokens for every member of the panel of whom it is in doubt whether its context holds them. Nobody
    is asked in most cases."""
    if not pool.tokenizers:
        return {}
    request = heard_by_panel(task)
    size = size_bytes(request)
    doubtful = [
        member
        for member in task.preset.panel
        if member in pool.tokenizers and in_doubt(task.profiles[member], request, size)
    ]
    if not doubtful:
        return {}
    timeout_s = min(left_s, PATIENCE_S)
    calls = [Call(member, request, timeout_s) for member in doubtful]
    found = await asyncio.gather(*(_tokens(pool, call) for call in calls))
    return {member: tokens for member, tokens in zip(doubtful, found, strict=True) if tokens is not None}


async def _tokens(pool: Pool, call: Call) -> int | None:
    try:
        async with asyncio.timeout(call.timeout_s):
            tokens, *_ = await pool.tokenizers[call.member].count(call)
    except (MemberError, TimeoutError):
        return None
    return tokens
