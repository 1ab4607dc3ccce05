"""The scripted member does as it is told, and keeps the protocol's promises while it does."""

from __future__ import annotations

import asyncio

import pytest

from fusion.chat import Call, Completion, Delta, ToolCall, Usage
from fusion.errors import JudgeInterrupted, MalformedReply, MemberUnavailable
from fusion.results import Candidate, Failure
from fusion.steps import AskJudge, Convene, RoundResult
from fusion.testing import (
    Answer,
    CutOff,
    Fail,
    Hang,
    IgnoreCancellation,
    JudgesAsked,
    Reply,
    Rubbish,
    ScriptedMember,
    ScriptedRun,
)
from tests.support.panels import QUESTION

CALL = Call("ada", QUESTION, 10.0)
WEATHER = ToolCall("call_1", "weather", "{}")


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_answers_in_turn_and_repeats_its_last() -> None:
    member = ScriptedMember(Answer("one"), Fail(MemberUnavailable("refused")), Answer("three"))
    assert (await member.ask(CALL)).text == "one"
    with pytest.raises(MemberUnavailable):
        await member.ask(CALL)
    assert [(await member.ask(CALL)).text for _ in range(2)] == ["three", "three"]
    assert member.calls == [CALL] * 4
    assert (member.running, member.cancelled) == (0, 0)


async def test_without_a_script_it_says_yes() -> None:
    assert (await ScriptedMember().ask(CALL)).text == "yes"


@pytest.mark.parametrize("text", ["", "four", "It is four.", " two  spaces \n and a line ", "   "])
async def test_its_pieces_add_up_to_its_completion(text: str) -> None:
    heard: list[Delta] = []
    completion = await ScriptedMember(Answer(text)).ask(CALL, heard.append)
    assert "".join(delta.text for delta in heard) == completion.text == text


async def test_it_streams_given_pieces_and_tool_calls() -> None:
    heard: list[Delta] = []
    began_at = now()
    member = ScriptedMember(Answer("abc", (WEATHER,), Usage(1, 2), "tool_calls", ["a", "bc"], piece_delay_s=2))
    completion = await member.ask(CALL, heard.append)
    assert completion == Completion("abc", (WEATHER,), "tool_calls", Usage(1, 2))
    assert [delta.text for delta in heard] == ["a", "bc", ""]
    assert [call.name for delta in heard for call in delta.tool_calls] == ["weather"]
    assert now() - began_at == pytest.approx(4)


async def test_it_replies_with_what_it_makes_of_the_call() -> None:
    heard: list[Delta] = []
    member = ScriptedMember(Reply(lambda call: f"to {call.member}"))
    assert (await member.ask(CALL, heard.append)).text == "to ada"
    assert "".join(delta.text for delta in heard) == "to ada"


async def test_it_waits_for_its_delay_and_its_gate() -> None:
    gate = asyncio.Event()
    began_at = now()
    member = ScriptedMember(Answer("four"), delay_s=5, gate=gate)
    task = asyncio.create_task(member.ask(CALL))
    await asyncio.sleep(7)
    assert (task.done(), member.running) == (False, 1)
    gate.set()
    await task
    assert now() - began_at == pytest.approx(7)
    assert member.running == 0


async def test_it_hangs_until_it_is_cancelled() -> None:
    member = ScriptedMember(Hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await member.ask(CALL)
    assert (member.running, member.cancelled) == (0, 1)


async def test_it_is_cut_off_after_its_pieces() -> None:
    heard: list[Delta] = []
    with pytest.raises(MalformedReply):
        await ScriptedMember(CutOff(["a", "b"])).ask(CALL, heard.append)
    assert [delta.text for delta in heard] == ["a", "b"]


async def test_it_returns_rubbish() -> None:
    rubbish: object = await ScriptedMember(Rubbish({"not": "a completion"})).ask(CALL)
    assert rubbish == {"not": "a completion"}


async def test_it_ignores_cancellation() -> None:
    member = ScriptedMember(IgnoreCancellation(30))
    task = asyncio.create_task(member.ask(CALL))
    began_at = now()
    for _ in range(3):
        await asyncio.sleep(1)
        task.cancel()
    assert (await task).text == "too late"
    assert now() - began_at == pytest.approx(30)
    assert member.running == 0


# --- a scripted run ---------------------------------------------------------------------------------------------------


async def test_a_scripted_run_answers_in_order_and_records_what_it_was_asked() -> None:
    result = RoundResult((Candidate("ada", "cancelled", 1.0),), has_quorum=False, timed_out=True)
    run = ScriptedRun([result], [Completion("one"), Failure("timeout", "late"), Completion("three")])
    convene = Convene({"ada": QUESTION})
    one, other = AskJudge("judge", QUESTION), AskJudge("deputy", QUESTION)
    assert await run.convene(convene) is result
    assert await run.ask_judges([one, other], jurors=2, grace=0.5) == (Completion("one"), Failure("timeout", "late"))
    assert await run.ask_judges([other]) == (Completion("three"),)
    assert run.convened == [convene]
    assert run.asked == [JudgesAsked((one, other), 2, 0.5), JudgesAsked((other,), 0, 0.0)]


async def test_a_scripted_run_raises_an_interruption() -> None:
    run = ScriptedRun(outcomes=[JudgeInterrupted("cut off")])
    with pytest.raises(JudgeInterrupted, match="cut off"):
        await run.ask_judges([AskJudge("judge", QUESTION)])


async def test_a_script_that_runs_out_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="no result for round 1"):
        await ScriptedRun().convene(Convene({}, round=1))
    with pytest.raises(AssertionError, match="no outcome for judge"):
        await ScriptedRun().ask_judges([AskJudge("judge", QUESTION)])
