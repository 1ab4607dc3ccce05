"""A member on a real engine keeps the contract, and says in the words of `fusion.errors` what its engine refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from deployments.autoscaling import AT_ONCE, QUEUED
from fusion.chat import Delta, JsonSchema, Tool
from fusion.errors import ContextExceeded, MemberRejected
from tests.support.member_contract import CHECKS, Subject, cancelled_at_work, ignore, tool_calls_in
from tests.vllm.engines import AT_ONCE_MOST, Engine, call

_WEATHER = Tool("weather", "The weather in a city", {"type": "object", "properties": {"city": {"type": "string"}}})
_WATCHED = pytest.mark.parametrize("emit", [None, ignore])


@pytest.mark.parametrize("check", CHECKS)
async def test_an_engine_member_keeps_the_contract(
    smollm2: Engine, check: Callable[[Subject], Awaitable[None]]
) -> None:
    await check(smollm2.subject())


async def test_it_is_there_when_its_engine_is(smollm2: Engine) -> None:
    assert (await smollm2.behind().status(["ada"]))["ada"].ready


async def test_tokens_come_as_they_are_made(smollm2: Engine) -> None:
    came_at: list[float] = []
    loop = asyncio.get_running_loop()
    completion = await smollm2.member().ask(call("Count to ten.", 24), lambda _: came_at.append(loop.time()))
    ended_at = loop.time()
    assert completion.usage is not None
    assert len(came_at) > completion.usage.output_tokens / 2
    assert came_at[0] - (ended_at - came_at[-1]) < came_at[-1]
    assert len({round(at, 4) for at in came_at}) > len(came_at) / 2


async def test_members_share_the_engine_and_speak_with_their_own_voices(smollm2: Engine) -> None:
    member = smollm2.member()
    ada, again, bob, cyd = await asyncio.gather(
        *(member.ask(call("Who are you?", 16, name)) for name in ("ada", "ada", "bob", "cyd"))
    )
    assert ada.text == again.text
    assert ada.text != bob.text
    prompts = [completion.usage.input_tokens for completion in (ada, bob, cyd) if completion.usage]
    assert len(set(prompts)) == 3, "the system prompts differ in length"


@_WATCHED
@pytest.mark.parametrize(("question", "max_tokens"), [("word " * 6000, 8), ("hi", 6000)])
async def test_what_does_not_fit_is_refused(smollm2: Engine, question: str, max_tokens: int, emit: object) -> None:
    with pytest.raises(ContextExceeded) as raised:
        await smollm2.member().ask(call(question, max_tokens), emit)
    assert raised.value.member == "ada"
    assert "context" in raised.value.message
    assert "word" not in raised.value.message


@_WATCHED
async def test_a_schema_that_is_none_is_refused(smollm2: Engine, emit: object) -> None:
    schema = JsonSchema("answer", {"type": "no such type"})
    with pytest.raises(MemberRejected):
        await smollm2.member().ask(call("hi", 8, response_schema=schema), emit)


async def test_a_refusal_leaves_the_engine_at_work(smollm2: Engine) -> None:
    member = smollm2.member()
    refused, answered = await asyncio.gather(
        member.ask(call("word " * 6000, 8)), member.ask(call("hi", 8)), return_exceptions=True
    )
    assert isinstance(refused, MemberRejected)
    assert not isinstance(answered, BaseException)


@pytest.mark.parametrize("choice", [None, "none", "auto"])
async def test_tools_may_be_offered(smollm2: Engine, choice: str | None) -> None:
    asked = call("What is the weather in Oslo?", 12, tools=(_WEATHER,), tool_choice=choice)
    assert (await smollm2.member().ask(asked)).text


async def test_a_tool_that_must_be_called_is_offered_to_a_grammar(smollm2: Engine) -> None:
    """So small a model makes nothing sensible of it; whatever it makes arrives, watched or not."""
    heard: list[Delta] = []
    asked = call("What is the weather in Oslo?", 48, tools=(_WEATHER,), tool_choice="function:weather")
    whole, streamed = await asyncio.gather(smollm2.member().ask(asked), smollm2.member().ask(asked, heard.append))
    assert whole.text or whole.tool_calls
    assert {tool_call.name for tool_call in streamed.tool_calls} <= {"weather"}
    assert tool_calls_in(heard) == streamed.tool_calls


async def test_a_cancelled_call_does_not_take_another_with_it(smollm2: Engine) -> None:
    """Both belong to one request of Serve's, and so bear the same id."""
    kept = asyncio.create_task(smollm2.member().ask(call("Count to a hundred.", 48)))
    lost = asyncio.create_task(smollm2.member().ask(call("Count to a thousand.", 1900)))
    await asyncio.sleep(0.5)
    lost.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lost
    assert (await kept).usage is not None
    await cancelled_at_work(smollm2.subject(), None)


async def test_what_waits_in_a_full_engine_asks_for_more_of_them(smollm2: Engine) -> None:
    told = smollm2.handle.options(method_name="record_autoscaling_stats")
    asking = [asyncio.create_task(smollm2.member().ask(call("Count.", 400))) for _ in range(AT_ONCE_MOST + 8)]
    async with asyncio.timeout(60):
        while (stats := await told.remote())[QUEUED] < 8:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(0.05)
    assert stats[AT_ONCE] == AT_ONCE_MOST
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    async with asyncio.timeout(60):
        while (stats := await told.remote())[QUEUED]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
