"""Counting prompts with members' own tokenizers, where their length alone does not say enough."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fusion.askable import heard_by_panel, in_doubt
from fusion.chat import Call
from fusion.errors import MemberError
from fusion.presets import Pool, Task
from fusion.prompt_size import size_bytes

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
    calls = [Call(member, request, left_s) for member in doubtful]
    found = await asyncio.gather(*(tokens_of(pool, call) for call in calls))
    return {member: tokens[0] for member, tokens in zip(doubtful, found, strict=True) if tokens}


async def tokens_of(pool: Pool, call: Call, texts: Sequence[str] = ()) -> Sequence[int] | None:
    """The tokens of a call's prompt, then of each text, by the tokenizer of its member, which has one; None when that
    does not say."""
    try:
        async with asyncio.timeout(min(call.timeout_s, PATIENCE_S)):
            return await pool.tokenizers[call.member].count(call, texts)
    except (MemberError, TimeoutError):
        return None
