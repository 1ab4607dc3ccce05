"""An engine that dies fails its calls at once and takes its replica with it, and Serve starts another."""

from __future__ import annotations

import asyncio

from fusion.chat import Delta
from fusion.errors import MemberUnavailable
from tests.support.member_contract import ignore
from tests.vllm.engines import Engine, call, kill_engine


async def test_calls_on_a_dying_engine_fail_and_later_ones_are_answered_by_its_successor(smollm2: Engine) -> None:
    member = smollm2.member()
    began = asyncio.Event()

    def hear(_: Delta) -> None:
        began.set()

    asked = call("Tell me everything.", 1900)
    asking = [asyncio.create_task(member.ask(asked, emit)) for emit in (None, hear, ignore)]
    await began.wait()
    kill_engine("smollm2")
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, MemberUnavailable), outcome
        assert outcome.member == "ada"

    async with asyncio.timeout(300):
        while not await _answers(smollm2):  # noqa: ASYNC110 - no event tells of another process
            await asyncio.sleep(0.5)


async def _answers(engine: Engine) -> bool:
    try:
        await engine.member().ask(call("hi", 4))
    except MemberUnavailable:
        return False
    return True
