"""What a judge model is shown while stragglers run, and what it finds read when it is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.ballot import blind
from fusion.chat import Call, ImagePart, JsonSchema, Message, Request, TextPart, Usage
from fusion.errors import MemberOverloaded
from fusion.judging.prompts import merge_request, verdict_request
from fusion.presets import AgreementPolicy, Criterion, Pool
from fusion.pricing import Price
from fusion.results import Fused, Mode
from fusion.runtime.prefill import prefix_of
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Behaviour, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION, answered, favouring, profile, scene, shown_answers

NAMES = ("ada", "bob", "cyd", "dan")


async def run(
    mode: Mode, ahead: ScriptedMember | None = None, *, last: Behaviour | None = None, **settings: object
) -> tuple[Fused, ScriptedMember, ScriptedMember]:
    """Members that come a second apart, the last one after ten; what reached the judge and its engine ahead."""
    ahead = ahead or ScriptedMember(Answer("x", usage=Usage(100, 1)))
    members = {name: ScriptedMember(Answer(f"it is {name}"), delay_s=1.0 + i) for i, name in enumerate(NAMES)}
    members["dan"] = ScriptedMember(last or Answer("it is dan"), delay_s=10.0)
    judge = ScriptedMember(favouring("cyd"))
    settings = {"quorum": 2, "grace": 9.0, **settings}
    task, pool = scene({**members, "judge": judge}, mode, **settings)  # type: ignore[arg-type]
    return await fuse(task, replace(pool, prefilling={"judge": ahead})), judge, ahead


def prompt(call: Call) -> str:
    return "\n".join(f"{message.role}: {message.text}" for message in call.request.messages)


@pytest.mark.parametrize("mode", ["best-of", "merge"])
@pytest.mark.parametrize("seed", range(6))
async def test_what_is_sent_ahead_is_how_the_judges_prompt_begins(mode: Mode, seed: int) -> None:
    result, judge, ahead = await run(mode, seed=seed)
    assert [len(shown_answers(call)) for call in ahead.calls] == [2, 3]
    asked = prompt(judge.calls[0])
    assert len(shown_answers(judge.calls[0])) == 4
    for call in ahead.calls:
        assert asked.startswith(prompt(call))
        assert (call.purpose, call.request.sampling.max_tokens, call.request.response_schema) == ("prefill", 1, None)
    first = set(shown_answers(ahead.calls[0]).values())
    assert first == {"it is ada", "it is bob"}
    assert result.verdict is None or result.verdict.order[2:] == ("cyd", "dan")


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("best-of", {"both_orders": True, "rubric": (Criterion("correct", 2, "so it is"), Criterion("brief"))}),
        ("best-of", {"analysis": "before"}),
        ("merge", {"analysis": "before"}),
        ("merge", {"no_harm": True}),
        ("merge", {"analysis": "beside", "awaits_analysis": True}),
    ],
)
async def test_whatever_the_judge_is_asked_first_begins_as_was_sent(mode: Mode, settings: dict[str, object]) -> None:
    _, judge, ahead = await run(mode, **settings)
    asked = [prompt(call) for call in judge.calls]
    assert [len(shown_answers(call)) for call in ahead.calls] == [2, 3]
    for call in ahead.calls:
        assert any(each.startswith(prompt(call)) for each in asked)


async def test_one_that_does_not_follow_the_schema_is_not_shown() -> None:
    wanted = JsonSchema("n", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    says = {"ada": "no JSON", "bob": '{"n": 1}', "cyd": '{"n": 2}', "dan": '{"n": 3}'}
    members = {name: ScriptedMember(Answer(text), delay_s=1.0 + i) for i, (name, text) in enumerate(says.items())}
    judge, ahead = ScriptedMember(favouring('{"n": 2}')), ScriptedMember(Answer("x"))
    request = Request(QUESTION.messages, response_schema=wanted)
    task, pool = scene({**members, "judge": judge}, "best-of", quorum=2, grace=9.0, request=request)
    await fuse(task, replace(pool, prefilling={"judge": ahead}))
    assert [len(shown_answers(call)) for call in ahead.calls] == [1, 2]
    assert prompt(judge.calls[0]).startswith(prompt(ahead.calls[-1]))


async def test_those_that_come_together_are_in_an_order_drawn_from_the_seed() -> None:
    orders = {tuple(shown_answers((await run("merge", seed=seed))[2].calls[0]).values()) for seed in range(12)}
    assert len(orders) == 2


@pytest.mark.parametrize("last", [Fail(MemberOverloaded("busy")), Hang()])
async def test_one_that_never_comes_is_left_out_and_nothing_else_moves(last: Behaviour) -> None:
    _, judge, ahead = await run("merge", last=last)
    assert prompt(judge.calls[0]).startswith(prompt(ahead.calls[-1]))
    assert len(shown_answers(judge.calls[0])) == 3


async def test_what_is_still_being_read_is_given_up_when_the_judge_is_asked() -> None:
    result, judge, ahead = await run("merge", ScriptedMember(Hang()))
    assert (ahead.cancelled, ahead.running, len(judge.calls)) == (2, 0, 1)
    assert "prefill" not in {spent.stage for spent in result.stages}
    assert result.timings.total_ms == pytest.approx(10e3)


@pytest.mark.parametrize("behaviour", [Fail(MemberOverloaded("no room")), Fail(RuntimeError("boom")), Answer("")])
async def test_one_that_fails_changes_nothing(behaviour: Behaviour) -> None:
    result, judge, _ = await run("merge", ScriptedMember(behaviour))
    assert (len(judge.calls), result.judge, result.degraded) == (1, "judge", None)


async def test_what_it_read_is_counted_and_priced_as_a_stage_of_its_own() -> None:
    result, _, _ = await run("merge", profiles={name: profile(name, price=Price(1, 2)) for name in (*NAMES, "judge")})
    spent = next(spent for spent in result.stages if spent.stage == "prefill")
    assert (spent.calls, spent.usage, spent.cost_usd) == (2, Usage(200, 2), pytest.approx(204e-6))
    assert result.usage.input_tokens == 200 + 5 * 10


async def test_it_costs_no_time() -> None:
    with_it, _, _ = await run("merge", ScriptedMember(Answer("x"), delay_s=2.0))
    without, _, ahead = await run("merge", prefill=False)
    assert (with_it.timings.total_ms, ahead.calls) == (without.timings.total_ms, [])


async def test_nothing_is_sent_where_it_would_be_for_nothing() -> None:
    _, _, ahead = await run("merge", quorum=4)
    assert ahead.calls == [], "nobody is waited for when the quorum is in"
    _, _, ahead = await run("merge", request=Request(QUESTION.messages, tools=()), skips=frozenset({"judge"}))
    assert ahead.calls == []
    members = {name: ScriptedMember(Answer("4"), delay_s=i) for i, name in enumerate(NAMES)}
    task, pool = scene({**members, "judge": ScriptedMember()}, "merge", quorum=3, agreement=AgreementPolicy())
    silent = ScriptedMember()
    result = await fuse(task, Pool(pool.members, pool.profiles, {"judge": silent}))
    assert (result.completion.text, silent.calls) == ("4", [])


async def test_only_the_last_round_of_a_debate_is_sent_ahead() -> None:
    members = {name: ScriptedMember(Answer(f"it is {name}"), delay_s=1.0 + i) for i, name in enumerate(NAMES)}
    judge, ahead = ScriptedMember(Answer("done")), ScriptedMember(Answer("x"))
    task, pool = scene({**members, "judge": judge}, "debate", quorum=2, grace=9.0, rounds=2)
    began_at = asyncio.get_running_loop().time()
    await fuse(task, replace(pool, prefilling={"judge": ahead}))
    assert asyncio.get_running_loop().time() - began_at == pytest.approx(12)
    assert [len(shown_answers(call)) for call in ahead.calls] == [2, 3]
    assert prompt(judge.calls[0]).startswith(prompt(ahead.calls[-1]))


TEXTS = st.lists(st.text(alphabet="ab<>/ answer A0\n", max_size=30), min_size=2, max_size=5)


@given(TEXTS, st.integers(0, 2**63 - 1), st.integers(1, 4), st.booleans())
def test_a_prefix_holds_whatever_members_write(texts: list[str], seed: int, early: int, images: bool) -> None:
    content = (TextPart("look"), ImagePart("data:,x")) if images else "what?\n</answer B 0123456789abcdef>"
    request = Request((Message("user", "first"), Message("assistant", "yes"), Message("user", content)))
    candidates = [answered(f"m{i}", text) for i, text in enumerate(texts)]
    shown = tuple(f"m{i}" for i in range(min(early, len(texts) - 1)))
    first = [candidate for candidate in candidates if candidate.member in shown]
    for build in (merge_request, verdict_request):
        ballot = blind(first, request, seed, shown)
        ahead = prefix_of(build(request, ballot), ballot.last_line)
        whole = build(request, blind(candidates, request, seed, shown))
        assert prompt(Call("j", whole, 1.0)).startswith(prompt(Call("j", ahead, 1.0)))
        assert prompt(Call("j", ahead, 1.0)).endswith(ballot.last_line)
        assert len(first) == len(ballot.labels)
