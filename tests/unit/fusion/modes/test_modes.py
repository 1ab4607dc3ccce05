"""The three modes, from their happy paths to the last resort."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace

import pytest

from fusion.chat import Call, Completion, Delta, JsonSchema, Message, Request, Sampling, Tool, ToolCall, Usage
from fusion.errors import (
    InvalidRequest,
    JudgeInterrupted,
    MalformedReply,
    MemberTimeout,
    MemberUnavailable,
    NoQuorum,
    NoValidAnswer,
)
from fusion.member import Emit
from fusion.modes import MODES
from fusion.presets import AgreementPolicy
from fusion.pricing import Price
from fusion.results import FusedField, LeftOut, Mode, ToolVote, VotedCall
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Behaviour, CutOff, Fail, Hang, Reply, Rubbish, ScriptedMember
from tests.support.panels import QUESTION, Recorder, favouring, fused, profile, scene, shown_answers

WEATHER = ToolCall("call_1", "weather", '{"city":  "Oslo"}')
CLOCK = ToolCall("call_2", "clock", "{}")


def panel(**texts: str) -> dict[str, ScriptedMember]:
    """Members that answer with these texts, a second apart."""
    return {name: ScriptedMember(Answer(text), delay_s=1 + i / 10) for i, (name, text) in enumerate(texts.items())}


def now() -> float:
    return asyncio.get_running_loop().time()


def test_every_mode_has_its_plan() -> None:
    assert set(MODES) == {"best-of", "merge", "debate", "auto"}


# --- best-of ----------------------------------------------------------------------------------------------------------


async def test_best_of_returns_the_winner_verbatim_with_its_tool_calls() -> None:
    winner = Answer("  I look  it up. \n", (WEATHER, CLOCK), Usage(3, 4), "tool_calls")
    judge = ScriptedMember(favouring("look"))
    watcher = Recorder()
    result = await fused(
        {**panel(ada="four"), "bob": ScriptedMember(winner), "judge": judge}, quorum=2, watcher=watcher
    )
    assert result.completion == Completion(winner.text, (WEATHER, CLOCK), "tool_calls", Usage(3, 4))
    assert (result.mode, result.judge, result.degraded) == ("best-of", "judge", None)
    assert result.verdict is not None
    assert (result.verdict.winner, result.verdict.judge, result.verdict.reason) == ("bob", "judge", "it is best")
    assert result.verdict.scores == {"ada": 3.0, "bob": 9.0}
    assert set(result.verdict.order) == {"ada", "bob"}
    assert watcher.text == winner.text
    assert [(delta.index, delta.id, delta.name, delta.arguments) for delta in watcher.deltas[-1].tool_calls] == [
        (0, "call_1", "weather", '{"city":  "Oslo"}'),
        (1, "call_2", "clock", "{}"),
    ]


async def test_best_of_asks_the_judge_with_the_verdicts_schema_at_temperature_zero() -> None:
    judge = ScriptedMember(favouring("four"))
    request = Request(QUESTION.messages, Sampling(temperature=0.9, max_tokens=5, seed=3, stop=("\n",)))
    await fused({**panel(ada="four", bob="five"), "judge": judge}, quorum=2, request=request)
    asked = judge.calls[0].request
    assert asked.response_schema is not None
    assert set(asked.response_schema.schema["properties"]["scores"]["properties"]) == {"A", "B"}
    assert (asked.sampling.temperature, asked.sampling.seed, asked.sampling.stop) == (0.0, None, None)
    assert asked.sampling.max_tokens is not None
    assert asked.sampling.max_tokens > 100
    assert asked.tools == ()


async def test_a_single_candidate_is_not_judged() -> None:
    judge = ScriptedMember(favouring("four"))
    result = await fused(
        {**panel(ada="four"), "bob": ScriptedMember(Fail(MemberUnavailable("refused"))), "judge": judge}
    )
    assert result.completion.text == "four"
    assert result.degraded == "single_candidate: ada"
    assert judge.calls == []


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate"])
async def test_a_panel_of_one_is_no_degradation(mode: Mode) -> None:
    ada, judge = ScriptedMember(Answer("four")), ScriptedMember(Answer("never asked"))
    result = await fused({"ada": ada, "judge": judge}, mode)
    assert (len(ada.calls), len(judge.calls)) == (1, 0)
    assert (result.completion.text, result.degraded, result.judge, result.verdict) == ("four", None, None, None)


# --- judges that fail -------------------------------------------------------------------------------------------------

FAILING = [
    (Fail(MemberUnavailable("refused")), "unavailable"),
    (Fail(RuntimeError("boom")), "unavailable"),
    (Fail(asyncio.CancelledError()), "unavailable"),
    (Hang(), "timeout"),
    (Answer(""), "empty_completion"),
    (Rubbish(7), "malformed_reply"),
]


@pytest.mark.parametrize(("behaviour", "code"), [*FAILING, (Answer("I cannot decide."), "invalid_verdict")], ids=repr)
async def test_the_next_judge_is_asked_for_a_verdict_when_one_fails(behaviour: Behaviour, code: str) -> None:
    members = panel(ada="five", bob="four")
    result = await fused(
        {**members, "judge": ScriptedMember(behaviour), "deputy": ScriptedMember(favouring("four"))},
        judges=("judge", "deputy"),
        quorum=2,
    )
    assert result.completion.text == "four"
    assert result.judge == "deputy"
    assert result.degraded == f"judge_replaced: judge ({code})"
    assert [len(member.calls) for member in members.values()] == [1, 1]


@pytest.mark.parametrize(("behaviour", "code"), FAILING, ids=repr)
async def test_the_next_judge_is_asked_to_write_when_one_fails(behaviour: Behaviour, code: str) -> None:
    members = panel(ada="five", bob="four")
    watcher = Recorder()
    result = await fused(
        {**members, "judge": ScriptedMember(behaviour), "deputy": ScriptedMember(Answer("It is four."))},
        "merge",
        judges=("judge", "deputy"),
        quorum=2,
        watcher=watcher,
    )
    assert result.completion.text == watcher.text == "It is four."
    assert result.degraded == f"judge_replaced: judge ({code})"
    assert [len(member.calls) for member in members.values()] == [1, 1]


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate"])
async def test_when_all_judges_fail_the_most_trusted_candidate_answers(mode: Mode) -> None:
    watcher = Recorder()
    result = await fused(
        {
            "ada": ScriptedMember(Fail(MemberUnavailable("refused"))),
            **panel(bob="five", cyd="four", dot="four"),
            "judge": ScriptedMember(Fail(MemberUnavailable("refused"))),
            "deputy": ScriptedMember(Answer(" ")),
        },
        mode,
        judges=("judge", "deputy"),
        quorum=3,
        watcher=watcher,
    )
    assert result.completion.text == watcher.text == "five"
    assert result.judge is None
    assert result.verdict is None
    assert result.degraded == ("judge_failed: judge (unavailable), deputy (empty_completion); the answer is bob's")


async def test_among_samples_of_the_most_trusted_model_the_closest_answers() -> None:
    result = await fused(
        {**panel(ada="five", bob="six", cyd="four", dot="four"), "judge": ScriptedMember(Fail(MalformedReply("?")))},
        quorum=4,
        profiles={name: profile(name, origin="one") for name in ("ada", "cyd", "dot")},
    )
    assert result.completion.text == "four"
    assert result.degraded is not None
    assert result.degraded.endswith("cyd's")


@pytest.mark.parametrize("mode", ["best-of", "merge"])
async def test_the_deadline_during_the_judges_call_leaves_the_most_trusted_candidate(mode: Mode) -> None:
    began_at = now()
    judge = ScriptedMember(Hang())
    result = await fused(
        {**panel(ada="four", bob="five"), "judge": judge}, mode, quorum=2, deadline_s=20, watcher=Recorder()
    )
    assert now() - began_at == pytest.approx(20)
    assert result.completion.text == "four"
    assert result.degraded == "judge_failed: judge (timeout); the answer is ada's"
    assert (judge.running, judge.cancelled) == (0, 1)


async def test_a_quorum_in_the_last_moment_leaves_no_time_to_judge() -> None:
    judge = ScriptedMember(Hang())
    result = await fused(
        {"ada": ScriptedMember(Answer("four"), delay_s=19.5), "bob": ScriptedMember(Answer("five"), delay_s=19.9)}
        | {"judge": judge},
        quorum=2,
        deadline_s=20,
    )
    assert result.timings.total_ms == pytest.approx(20e3)
    assert result.completion.text == "four"


def first_shown(call: Call) -> str:
    """A judge that likes whatever it is shown first."""
    labels = list(shown_answers(call))
    scores = ", ".join(f'"{label}": {9 if place == 0 else 3}' for place, label in enumerate(labels))
    return f'{{"reason": "it came first", "scores": {{{scores}}}}}'


async def test_a_judge_that_favours_a_place_decides_nothing() -> None:
    for seed in range(6):
        judge = ScriptedMember(Reply(first_shown))
        result = await fused({**panel(ada="four", bob="five"), "judge": judge}, quorum=2, both_orders=True, seed=seed)
        assert result.completion.text == "four"
        assert result.verdict is not None
        assert (result.verdict.agreed, result.verdict.tie_broken_by) == (False, "trust")
        one, other = (list(shown_answers(call).values()) for call in judge.calls)
        assert one == list(reversed(other))


async def test_one_order_decides_when_the_other_gives_no_verdict_or_no_time_is_left_for_it() -> None:
    judge = ScriptedMember(Answer("no idea"), favouring("five"))
    result = await fused({**panel(ada="four", bob="five"), "judge": judge}, quorum=2, both_orders=True)
    assert result.completion.text == "five"
    assert result.verdict is not None
    assert result.verdict.agreed is None
    hurried = ScriptedMember(favouring("five"))
    skips = frozenset({"second_order"})
    await fused({**panel(ada="four", bob="five"), "judge": hurried}, quorum=2, both_orders=True, skips=skips)
    assert len(hurried.calls) == 1


# --- merge ------------------------------------------------------------------------------------------------------------


async def test_merge_streams_the_judges_words_before_it_has_finished() -> None:
    gate = asyncio.Event()
    watcher = Recorder()
    judge = WritesThenWaits(["It ", "is "], gate, ["four."])
    task, pool = scene({**panel(ada="four", bob="five"), "judge": judge}, "merge", quorum=2)
    request = asyncio.create_task(fuse(task, pool, watcher=watcher))
    await asyncio.sleep(5)
    assert not request.done()
    assert [delta.text for delta in watcher.deltas] == ["It ", "is "]
    gate.set()
    result = await request
    assert [delta.text for delta in watcher.deltas] == ["It ", "is ", "four."]
    assert result.completion.text == watcher.text == "It is four."
    assert (result.mode, result.judge, result.degraded, result.verdict) == ("merge", "judge", None, None)


@dataclass
class WritesThenWaits:
    """A member that writes, waits for the gate, and writes on. It goes on when it is cancelled, if it is stubborn."""

    first: list[str]
    gate: asyncio.Event
    then: list[str]
    stubborn: bool = False
    calls: int = 0

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        self.calls += 1
        self._write(self.first, emit)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            await self.gate.wait()
        self._write(self.then, emit)
        return Completion("".join([*self.first, *self.then]))

    def _write(self, pieces: list[str], emit: Emit | None) -> None:
        for piece in pieces:
            if emit:
                emit(Delta(piece))


async def test_blank_pieces_before_the_first_word_are_not_lost() -> None:
    watcher = Recorder()
    judge = ScriptedMember(Answer("\n It is", pieces=["", "\n", " ", "It", "", " is"]))
    result = await fused({**panel(ada="four", bob="five"), "judge": judge}, "merge", quorum=2, watcher=watcher)
    assert result.completion.text == watcher.text == "\n It is"


async def test_merge_without_a_watcher_asks_for_the_answer_in_one_piece() -> None:
    result = await fused({**panel(ada="four", bob="five"), "judge": ScriptedMember(Answer("It is four."))}, "merge")
    assert result.completion.text == "It is four."


async def test_merge_asks_with_the_clients_sampling_and_answer_format() -> None:
    judge = ScriptedMember(Answer("{}"))
    request = Request(QUESTION.messages, Sampling(temperature=0.3), response_schema=JsonSchema())
    await fused({**panel(ada="four", bob="five"), "judge": judge}, "merge", request=request, quorum=2)
    asked = judge.calls[0]
    assert asked.request.sampling == request.sampling
    assert asked.request.response_schema == JsonSchema()
    assert sorted(shown_answers(asked).values()) == ["five", "four"]


async def test_a_judge_that_does_not_stream_is_still_heard() -> None:
    class Silent:
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            return Completion("It is four.")

    watcher = Recorder()
    await fused({**panel(ada="four", bob="five"), "judge": Silent()}, "merge", quorum=2, watcher=watcher)
    assert watcher.text == "It is four."


@pytest.mark.parametrize("error", [MalformedReply("cut off"), MemberTimeout("nothing came for 20 s")], ids=repr)
async def test_a_judge_that_breaks_off_when_it_was_heard_ends_the_request(error: MemberUnavailable) -> None:
    deputy = ScriptedMember(Answer("never asked"))
    watcher = Recorder()
    with pytest.raises(JudgeInterrupted) as caught:
        await fused(
            {
                **panel(ada="four", bob="five"),
                "judge": ScriptedMember(CutOff(["It is", " fo"], error)),
                "deputy": deputy,
            },
            "merge",
            judges=("judge", "deputy"),
            quorum=2,
            watcher=watcher,
        )
    assert caught.value.partial is None
    assert watcher.text == "It is fo"
    assert deputy.calls == []


async def test_a_judge_that_breaks_off_before_it_was_heard_is_replaced() -> None:
    """Servers open a stream with an empty piece, and models with a blank one; neither is a word of the answer."""
    watcher = Recorder()
    result = await fused(
        {
            **panel(ada="four", bob="five"),
            "judge": ScriptedMember(CutOff(["", " ", "\n"])),
            "deputy": ScriptedMember(Answer("It is four.")),
        },
        "merge",
        judges=("judge", "deputy"),
        quorum=2,
        watcher=watcher,
    )
    assert result.completion.text == watcher.text == "It is four."
    assert result.degraded == "judge_replaced: judge (malformed_reply)"


async def test_a_judge_that_breaks_off_unwatched_is_replaced() -> None:
    result = await fused(
        {
            **panel(ada="four", bob="five"),
            "judge": ScriptedMember(CutOff(["It is", " fo"])),
            "deputy": ScriptedMember(Answer("It is four.")),
        },
        "merge",
        judges=("judge", "deputy"),
        quorum=2,
    )
    assert result.completion.text == "It is four."


async def test_the_deadline_in_mid_stream_leaves_what_was_written() -> None:
    began_at = now()
    watcher = Recorder()
    judge = ScriptedMember(Answer("", pieces=["It ", "is ", "fo", "ur"], piece_delay_s=4))
    prices = {name: profile(name, price=Price(1, 1)) for name in ("ada", "bob", "judge")}
    result = await fused(
        {**panel(ada="four", bob="five"), "judge": judge},
        "merge",
        quorum=2,
        deadline_s=10,
        watcher=watcher,
        profiles=prices,
    )
    assert now() - began_at == pytest.approx(10)
    assert result.completion == Completion("It is fo", finish_reason="length")
    assert watcher.text == "It is fo"
    assert result.judge == "judge"
    assert result.degraded is not None
    assert result.degraded.startswith("deadline")
    assert (judge.running, judge.cancelled) == (0, 1)
    assert result.cost_usd is None


async def test_a_judge_that_began_to_write_has_until_the_deadline() -> None:
    """Half of the time would be its deputy's, who could not take over any more."""
    deputy = ScriptedMember(Answer("never asked"))
    slow = ScriptedMember(Answer("It is four.", pieces=["It ", "is ", "four."], piece_delay_s=5))
    watcher = Recorder()
    result = await fused(
        {**panel(ada="four", bob="five"), "judge": slow, "deputy": deputy},
        "merge",
        judges=("judge", "deputy"),
        quorum=2,
        deadline_s=20,
        watcher=watcher,
    )
    assert result.completion.text == watcher.text == "It is four."
    assert result.degraded is None
    assert deputy.calls == []
    assert slow.calls[0].timeout_s == pytest.approx(20 - 1.1)


async def test_a_judge_that_does_not_begin_in_its_share_of_the_time_is_replaced() -> None:
    watcher = Recorder()
    late = ScriptedMember(Answer("too late"), delay_s=12)
    result = await fused(
        {**panel(ada="four", bob="five"), "judge": late, "deputy": ScriptedMember(Answer("It is four."))},
        "merge",
        judges=("judge", "deputy"),
        quorum=2,
        deadline_s=20,
        watcher=watcher,
    )
    assert result.completion.text == watcher.text == "It is four."
    assert result.degraded == "judge_replaced: judge (timeout)"
    assert late.cancelled == 1


async def test_what_a_replaced_judge_writes_does_not_get_into_the_answer() -> None:
    first_gate, second_gate = asyncio.Event(), asyncio.Event()
    replaced = WritesThenWaits([], first_gate, ["I come too late"], stubborn=True)
    watcher = Recorder()
    task, pool = scene(
        {
            **panel(ada="four", bob="five"),
            "judge": replaced,
            "deputy": WritesThenWaits(["It "], second_gate, ["is four."]),
        },
        "merge",
        judges=("judge", "deputy"),
        quorum=2,
        deadline_s=20,
    )
    request = asyncio.create_task(fuse(task, pool, watcher=watcher))
    await asyncio.sleep(15)
    assert watcher.text == "It "
    first_gate.set()
    await asyncio.sleep(1)
    second_gate.set()
    result = await request
    assert result.completion.text == watcher.text == "It is four."


async def test_whether_to_call_tools_is_voted_on_without_a_judge() -> None:
    judge = ScriptedMember()
    watcher = Recorder()
    calling = Answer("", (WEATHER,), finish_reason="tool_calls")
    members = {**panel(ada="four"), "bob": ScriptedMember(calling), "cyd": ScriptedMember(calling)}
    result = await fused(
        {**members, "judge": judge}, "merge", quorum=3, watcher=watcher, agreement=AgreementPolicy(short=False)
    )
    assert result.completion.tool_calls == (WEATHER,)
    assert result.assembly is not None
    assert result.assembly.tool_vote == ToolVote(
        "calls", ("bob", "cyd"), ("ada",), (VotedCall("weather", {"city": 2}),)
    )
    assert judge.calls == []
    assert [delta.name for delta in watcher.deltas[0].tool_calls] == ["weather"]


async def test_where_most_answer_in_words_those_words_are_merged() -> None:
    judge = ScriptedMember(Answer("merged"))
    calling = ScriptedMember(Answer("", (WEATHER,), finish_reason="tool_calls"))
    members = {**panel(ada="four", bob="five"), "cyd": calling, "judge": judge}
    result = await fused(members, "merge", quorum=3)
    assert result.completion.text == "merged"
    assert sorted(shown_answers(judge.calls[0]).values()) == ["five", "four"]
    assert result.assembly is not None
    assert result.assembly.tool_vote == ToolVote("text", ("ada", "bob"), ("cyd",))


FORBIDDEN = replace(QUESTION, tools=(Tool("weather"),), tool_choice="none")
REQUIRED = replace(FORBIDDEN, tool_choice="required")
NAMED = replace(FORBIDDEN, tool_choice="function:weather")
CALLING = Answer("", (WEATHER,), finish_reason="tool_calls")
EVERY_MODE: list[Mode] = ["best-of", "merge", "debate", "auto"]


@pytest.mark.parametrize("mode", EVERY_MODE)
async def test_calls_that_are_forbidden_do_not_come_back(mode: Mode) -> None:
    members = {name: ScriptedMember(CALLING) for name in ("ada", "bob", "cyd")}
    with pytest.raises(NoQuorum) as raised:
        await fused({**members, "judge": ScriptedMember()}, mode, request=FORBIDDEN)
    assert {candidate.failure.code for candidate in raised.value.candidates if candidate.failure} == {
        "empty_completion"
    }


@pytest.mark.parametrize("mode", EVERY_MODE)
async def test_words_beside_forbidden_calls_are_the_answer(mode: Mode) -> None:
    both = Answer("It rains.", (WEATHER,), finish_reason="tool_calls")
    members = {name: ScriptedMember(both) for name in ("ada", "bob", "cyd")}
    result = await fused({**members, "judge": ScriptedMember(Answer("It rains."))}, mode, request=FORBIDDEN)
    assert result.completion.text == "It rains."
    assert result.completion.tool_calls == ()
    assert result.completion.finish_reason == "stop"


@pytest.mark.parametrize("mode", EVERY_MODE)
@pytest.mark.parametrize("request_", [REQUIRED, NAMED], ids=["required", "named"])
async def test_a_missing_call_is_told(mode: Mode, request_: Request) -> None:
    members = panel(ada="four", bob="four", cyd="four")
    result = await fused({**members, "judge": ScriptedMember(Answer("four"))}, mode, request=request_)
    assert result.completion.text == "four"
    assert result.degraded is not None
    assert "missing_call: " in result.degraded


@pytest.mark.parametrize("mode", EVERY_MODE)
async def test_a_single_candidate_is_held_to_the_terms_too(mode: Mode) -> None:
    impossible = Answer("", (ToolCall("1", "no_such", "{}"),), finish_reason="tool_calls")
    result = await fused({"ada": ScriptedMember(impossible), "judge": ScriptedMember()}, mode, request=REQUIRED)
    assert result.degraded is not None
    assert result.degraded.startswith("invalid_call: ")


@pytest.mark.parametrize("mode", EVERY_MODE)
async def test_who_makes_the_wanted_call_goes_before_those_who_agree_in_words(mode: Mode) -> None:
    members = {**panel(ada="four", bob="four"), "cyd": ScriptedMember(CALLING)}
    result = await fused({**members, "judge": ScriptedMember()}, mode, quorum=3, request=REQUIRED)
    assert result.completion.tool_calls == (WEATHER,)
    assert result.degraded is None or "missing_call" not in result.degraded


# --- JSON -------------------------------------------------------------------------------------------------------------

PLACE = JsonSchema(
    "place",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}, "why": {"type": "string"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    },
)
JSON_QUESTION = replace(QUESTION, response_schema=PLACE)


async def test_json_answers_are_fused_field_by_field_without_a_judge() -> None:
    judge = ScriptedMember()
    members = panel(
        ada='{"city": "Oslo", "people": 700}',
        bob='{"city": "Oslo", "people": 720}',
        cyd='{"city": "Rome", "people": 1}',
    )
    result = await fused({**members, "judge": judge}, "merge", quorum=3, request=JSON_QUESTION)
    assert json.loads(result.completion.text) == {"city": "Oslo", "people": 700}
    assert judge.calls == []
    assert result.assembly is not None
    assert set(result.assembly.fields) == {FusedField("/city", "vote"), FusedField("/people", "median")}


async def test_a_judge_writes_the_long_texts_alone_and_under_a_schema() -> None:
    why = [f"{word} " * 20 for word in ("one", "two", "three")]
    answers = {
        name: json.dumps({"city": "Oslo", "people": 700, "why": text})
        for name, text in zip(("ada", "bob", "cyd"), why, strict=True)
    }
    judge = ScriptedMember(Answer('{"/why": "because of all of these"}'))
    result = await fused({**panel(**answers), "judge": judge}, "merge", quorum=3, request=JSON_QUESTION)
    assert json.loads(result.completion.text) == {"city": "Oslo", "people": 700, "why": "because of all of these"}
    schema = judge.calls[0].request.response_schema
    assert schema is not None
    assert schema.schema["required"] == ["/why"]


@pytest.mark.parametrize("mode", ["merge", "best-of"])
async def test_what_does_not_follow_the_schema_has_no_part(mode: Mode) -> None:
    members = panel(ada="Oslo, I think", bob='{"city": "Oslo"}', cyd='{"city": "Oslo", "people": 700}')
    result = await fused({**members, "judge": ScriptedMember()}, mode, quorum=3, request=JSON_QUESTION)
    assert json.loads(result.completion.text) == {"city": "Oslo", "people": 700}
    assert result.assembly is not None
    assert result.assembly.left_out == (LeftOut("ada", "invalid_json"), LeftOut("bob", "breaks_schema"))


@pytest.mark.parametrize("mode", ["merge", "best-of"])
async def test_nothing_that_breaks_the_schema_is_returned(mode: Mode) -> None:
    members = panel(ada="Oslo", bob="Oslo", cyd="Rome")
    with pytest.raises(NoValidAnswer):
        await fused({**members, "judge": ScriptedMember(Answer("Oslo"))}, mode, quorum=3, request=JSON_QUESTION)


async def test_a_judge_may_give_what_no_candidate_gave() -> None:
    judge = ScriptedMember(Answer('{"city": "Oslo", "people": 1}'))
    result = await fused({**panel(ada="Oslo", bob="Rome"), "judge": judge}, "merge", quorum=2, request=JSON_QUESTION)
    assert result.judge == "judge"
    assert json.loads(result.completion.text)["city"] == "Oslo"


async def test_a_schema_that_answers_cannot_be_held_to_is_refused_before_anyone_is_asked() -> None:
    members = panel(ada="{}", bob="{}")
    broken = replace(QUESTION, response_schema=JsonSchema("x", {"type": "no such type"}))
    with pytest.raises(InvalidRequest, match="response_format"):
        await fused({**members, "judge": ScriptedMember()}, "merge", quorum=2, request=broken)
    assert members["ada"].calls == []


# --- debate -----------------------------------------------------------------------------------------------------------


async def test_members_see_the_others_unnamed_and_their_own_apart() -> None:
    members = {
        "ada": ScriptedMember(Answer("first of ada's"), delay_s=1),
        "bob": ScriptedMember(Answer("first of b"), delay_s=1),
        "cyd": ScriptedMember(Answer("first of c"), delay_s=1),
    }
    await fused({**members, "judge": ScriptedMember(Answer("done"))}, "debate", quorum=3)
    assert [len(member.calls) for member in members.values()] == [2, 2, 2]
    rebuttal = members["bob"].calls[1]
    assert rebuttal.request.messages[:-2] == QUESTION.messages
    assert rebuttal.request.messages[-2] == Message("assistant", "first of b")
    assert sorted(shown_answers(rebuttal).values()) == ["first of ada's", "first of c"]
    assert "first of b" not in rebuttal.request.messages[-1].text
    assert not re.search(r"\b(bob|cyd|judge)\b", rebuttal.request.messages[-1].text)
    assert rebuttal.purpose == "answer"


async def test_a_fence_that_members_saw_is_not_used_again() -> None:
    members = panel(ada="five", bob="four")
    judge = ScriptedMember(Answer("It is four."))
    await fused({**members, "judge": judge}, "debate", quorum=2, rounds=2)
    shown = [*members["ada"].calls[1:], *judge.calls]
    fences = [set(re.findall(r"\b[0-9a-f]{16}\b", repr(call.request.messages))) for call in shown]
    assert [len(found) for found in fences] == [1, 1, 1]
    assert len(set[str]().union(*fences)) == 3


async def test_a_debate_ends_early_when_the_candidates_agree() -> None:
    members = {
        "ada": ScriptedMember(Answer("The answer is 5."), Answer("The answer is 4."), delay_s=1),
        "bob": ScriptedMember(Answer("the answer is **4**"), delay_s=1),
    }
    result = await fused({**members, "judge": ScriptedMember(Answer("It is 4."))}, "debate", quorum=2, rounds=5)
    assert [len(member.calls) for member in members.values()] == [2, 2]
    assert [(candidate.member, candidate.round) for candidate in result.candidates] == [
        ("ada", 0),
        ("bob", 0),
        ("ada", 1),
        ("bob", 1),
    ]
    assert result.completion.text == "It is 4."


async def test_a_debate_that_begins_in_agreement_has_no_rebuttals() -> None:
    members = panel(ada="4", bob="4")
    result = await fused({**members, "judge": ScriptedMember(Answer("It is 4."))}, "debate", quorum=2, rounds=5)
    assert {candidate.round for candidate in result.candidates} == {0}
    assert result.mode == "debate"


@pytest.mark.parametrize("rounds", [0, 1, 3])
async def test_a_debate_without_agreement_is_bounded_by_its_rounds(rounds: int) -> None:
    members = panel(ada="five", bob="four")
    watcher = Recorder()
    judge = ScriptedMember(Answer("It is four."))
    await fused({**members, "judge": judge}, "debate", quorum=2, rounds=rounds, watcher=watcher)
    assert [len(member.calls) for member in members.values()] == [1 + rounds] * 2
    assert [line for line in watcher.story if "asks" in line] == [
        f"round {number} asks ada bob" for number in range(rounds + 1)
    ]


async def test_a_member_that_fails_in_a_rebuttal_keeps_its_last_answer() -> None:
    ada = ScriptedMember(Answer("five"), Fail(MemberUnavailable("gone")), delay_s=1)
    bob = ScriptedMember(Answer("four"), Answer("still four"), delay_s=1)
    judge = ScriptedMember(Answer("It is four."))
    result = await fused({"ada": ada, "bob": bob, "judge": judge}, "debate", quorum=1, grace=9)
    assert sorted(shown_answers(judge.calls[0]).values()) == ["five", "still four"]
    assert [(candidate.member, candidate.status, candidate.round) for candidate in result.candidates] == [
        ("ada", "answered", 0),
        ("bob", "answered", 0),
        ("ada", "failed", 1),
        ("bob", "answered", 1),
    ]
    assert result.degraded is None


async def test_a_rebuttal_in_which_nobody_answers_changes_nothing_and_leaves_time_to_decide() -> None:
    members = {
        "ada": ScriptedMember(Answer("five"), Hang(), delay_s=1),
        "bob": ScriptedMember(Answer("four"), Hang(), delay_s=1),
    }
    judge = ScriptedMember(Answer("It is four."), delay_s=5)
    result = await fused({**members, "judge": judge}, "debate", quorum=2, deadline_s=60)
    assert result.completion.text == "It is four."
    assert sorted(shown_answers(judge.calls[0]).values()) == ["five", "four"]
    assert [member.cancelled for member in members.values()] == [1, 1]
    assert result.timings.total_ms < 60e3


async def test_a_member_without_an_opening_answer_does_not_debate() -> None:
    cyd = ScriptedMember(Fail(MemberUnavailable("refused")), Answer("never asked"))
    members = panel(ada="five", bob="four")
    await fused({**members, "cyd": cyd, "judge": ScriptedMember(Answer("done"))}, "debate", quorum=2)
    assert len(cyd.calls) == 1
    assert len(members["ada"].calls) == 2


async def test_a_debate_can_end_in_a_verdict() -> None:
    members = panel(ada="five", bob="four")
    result = await fused(
        {**members, "judge": ScriptedMember(favouring("four"))}, "debate", quorum=2, decision="best-of"
    )
    assert result.completion.text == "four"
    assert result.verdict is not None
    assert result.mode == "debate"


async def test_a_debate_can_end_in_a_merge_that_streams() -> None:
    watcher = Recorder()
    members = panel(ada="five", bob="four")
    await fused({**members, "judge": ScriptedMember(Answer("It is four."))}, "debate", quorum=2, watcher=watcher)
    assert [delta.text for delta in watcher.deltas] == ["It", " is", " four."]


async def test_a_debate_needs_its_opening_quorum() -> None:
    with pytest.raises(NoQuorum):
        await fused({"ada": ScriptedMember(Fail(MemberUnavailable("refused")))} | panel(bob="four"), "debate", quorum=2)
