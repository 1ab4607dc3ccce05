"""Sending a judge's prompt ahead, on a real engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fusion.chat import Call, Message, Request, Sampling
from fusion.errors import MemberOverloaded
from fusion.member import Member
from tests.benchmarks.fusing.reading_ahead import one
from tests.vllm.engines import Engine, call


async def test_the_judge_finds_it_read(smollm2: Engine) -> None:
    without_ms, _ = await one(smollm2.member(), smollm2.profiles, 77, ahead=False, late_s=0.1)
    with_ms, used = await one(smollm2.member(), smollm2.profiles, 78, ahead=True)
    assert used is not None
    assert used.input_tokens > 800
    assert used.output_tokens == 1
    assert with_ms < without_ms


async def test_the_same_prompt_has_the_same_answer_whether_it_was_sent_ahead_or_not(smollm2: Engine) -> None:
    text = " ".join(f"Item {number} is of the kind {number % 7}." for number in range(60))
    whole = Request((Message("user", f"{text}\nWhat is item 8?"),), Sampling(temperature=0.0, max_tokens=12))
    ahead = Request((Message("user", text),), Sampling(temperature=0.0, max_tokens=1))
    member = smollm2.member()
    await member.ask(Call("judge", ahead, 120.0, purpose="prefill"))
    after = await member.ask(Call("judge", whole, 120.0, purpose="judge"))
    cold = replace(whole, messages=(Message("system", "x"), *whole.messages))
    await member.ask(Call("judge", cold, 120.0, purpose="judge"))
    again = await member.ask(Call("judge", whole, 120.0, purpose="judge"))
    assert after.text == again.text


async def test_nothing_is_read_ahead_while_others_wait_for_the_engine(smollm2: Engine) -> None:
    """The engine runs sixteen requests at once."""
    member = smollm2.member()
    crowd = [asyncio.create_task(member.ask(call("Tell me everything.", 400))) for _ in range(20)]
    ahead = Call("judge", Request((Message("user", "word " * 600),), Sampling(max_tokens=1)), 120.0, purpose="prefill")
    try:
        async with asyncio.timeout(60):
            with pytest.raises(MemberOverloaded):
                await _again_and_again(member, ahead)
    finally:
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def _again_and_again(member: Member, ahead: Call) -> None:
    while True:
        await member.ask(ahead)
