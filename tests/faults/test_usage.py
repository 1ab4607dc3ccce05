"""An answer whose usage is missing or nonsense is an answer, of which nobody knows what it cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.providers import MISSING
from tests.faults.server import ANSWER, WAYS, Way, ask, member_at
from tests.remote.upstream import upstream

WRONG = [-1, "7", 7.5, 7.0, True, None, [7], {}, 10**400]


async def usage_is_unknown(way: Way, usage: object, key: Path) -> None:
    answer = way.reply(way.answer(usage=usage))
    async with upstream(answer) as server, member_at(server.url, way, key) as member:
        assert await ask(member, way) == replace(ANSWER, usage=None)


@pytest.mark.parametrize(
    "usage", [MISSING, None, {}, [], "7", 7], ids=["missing", "null", "{}", "[]", "text", "number"]
)
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_no_usage(way: Way, usage: object, key: Path) -> None:
    await usage_is_unknown(way, usage, key)


@pytest.mark.parametrize("count", WRONG, ids=lambda count: repr(count)[:9])
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_count_that_is_none(way: Way, count: object, key: Path) -> None:
    for usage in (way.provider.usage(count, 5), way.provider.usage(7, count)):
        await usage_is_unknown(way, usage, key)
