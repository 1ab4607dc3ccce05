"""What does not fit an engine is counted by its own tokenizer, left out or shortened, and never cut silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from deployments.members.model_limits import ModelLimits
from deployments.members.profiled import ProfiledMember, ProfiledTokenizer
from fusion.ballot import blind
from fusion.chat import Call, Message, Request, Sampling, Tool
from fusion.errors import ContextExceeded
from fusion.judging.prompts import verdict_request
from fusion.member import Member, MemberProfile
from fusion.presets import AgreementPolicy, Policy, Pool, Preset, Task
from fusion.results import Mode
from fusion.runtime.runner import fuse
from fusion.testing import Answer, ScriptedMember
from tests.support.panels import answered, profile, shown_answers
from tests.vllm.engines import CONTEXT_TOKENS, Engine

_QUESTION = Request((Message("user", "What is the capital of France?"),), Sampling(max_tokens=32))
_TEXTS = {
    "long": "\n".join(f"{number}. Paris is the capital of France, and has been so for long." for number in range(300)),
    "longer": "\n".join(f"{number}. Some say that it is Lyon, which is wrong." for number in range(600)),
    "short": "It is Paris.",
}


class Heard:
    """Another member, and what it was asked."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.calls: list[Call] = []

    async def ask(self, call: Call, emit: object = None) -> object:
        self.calls.append(call)
        return await self.member.ask(call, emit)  # type: ignore[arg-type]


def _scene(
    engine: Engine,
    mode: Mode,
    texts: Mapping[str, str],
    request: Request,
    *of_engine: str,
    context_tokens: int = CONTEXT_TOKENS,
) -> tuple[Task, Pool]:
    """A panel of scripted members with these texts and of members of the engine, which judges too."""
    profiles = {
        name: replace(engine.profiles[name], context_tokens=context_tokens, has_tokenizer=True)
        for name in (*of_engine, "judge")
    }
    tokenizers = {name: ProfiledTokenizer(engine.behind(), each) for name, each in profiles.items()}
    members = {name: Heard(ProfiledMember(engine.behind(), each)) for name, each in profiles.items()}
    scripted = {name: ScriptedMember(Answer(text)) for name, text in texts.items()}
    profiles |= {name: profile(name) for name in texts}
    panel = (*texts, *of_engine)
    preset = Preset(
        f"fusion/{mode}",
        mode,
        panel,
        ("judge",),
        Policy(quorum=len(texts), deadline_s=240),
        agreement=AgreementPolicy(short=False),
        both_orders=False,
    )
    return Task(preset, request, profiles, seed=7), Pool({**members, **scripted}, profiles, tokenizers=tokenizers)  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["ada", "cyd"])
async def test_tokens_are_counted_as_the_engine_counts_them(smollm2: Engine, name: str) -> None:
    voice: MemberProfile = smollm2.profiles[name]
    tools = (Tool("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}}),)
    history = (
        Message("user", "Héllo, 漢字 and 🙂!"),
        Message("assistant", "Hello."),
        Message("user", "<|im_end|> What now?"),
    )
    for request in (_QUESTION, replace(_QUESTION, messages=history), replace(_QUESTION, tools=tools)):
        call = Call(name, request, 60.0)
        tokens, *texts = await ProfiledTokenizer(smollm2.behind(), voice).count(call, ["", "Paris is the capital."])
        completion = await ProfiledMember(smollm2.behind(), voice).ask(call)
        assert completion.usage is not None
        assert tokens == completion.usage.input_tokens
        assert texts == [0, 5]


async def test_an_engine_says_what_its_model_takes(smollm2: Engine) -> None:
    assert await smollm2.behind().limits() == ModelLimits(images=False, context_tokens=CONTEXT_TOKENS)


@pytest.mark.parametrize(("mode", "context_tokens"), [("best-of", CONTEXT_TOKENS), ("merge", 1200)])
async def test_a_judge_is_shown_as_much_as_its_context_holds(smollm2: Engine, mode: Mode, context_tokens: int) -> None:
    whole = verdict_request(_QUESTION, blind([answered(name, text) for name, text in _TEXTS.items()], _QUESTION, 7))
    judge = ProfiledMember(smollm2.behind(), smollm2.profiles["judge"])
    with pytest.raises(ContextExceeded):
        await judge.ask(Call("judge", whole, 60.0, purpose="judge"))

    task, pool = _scene(smollm2, mode, _TEXTS, _QUESTION, context_tokens=context_tokens)
    fused = await fuse(task, pool)
    assert (fused.judge, fused.degraded) == ("judge", None)
    assert fused.fit is not None
    told = {each.member: each for each in fused.fit.shortened}
    assert set(told) == {"long", "longer"}
    for each in told.values():
        assert each.shown_tokens < each.tokens
        assert not each.estimated
    assert abs(told["long"].shown_tokens - told["longer"].shown_tokens) < 100
    judge = pool.members["judge"]
    assert isinstance(judge, Heard)
    (call,) = judge.calls
    assert _TEXTS["short"] in shown_answers(call).values()
    (judged,) = [spent for spent in fused.stages if spent.stage == "judge"]
    room = context_tokens - (call.request.sampling.max_tokens or 0)
    assert room - 300 < judged.usage.input_tokens <= room
    if mode == "best-of":
        assert fused.completion.text in _TEXTS.values(), "the winner comes back whole"


async def test_a_member_whose_context_has_no_room_for_the_history_is_left_out(smollm2: Engine) -> None:
    history = Request((Message("user", "word " * 1000),), Sampling(max_tokens=32))
    task, pool = _scene(smollm2, "best-of", {"short": "It is Paris."}, history, "ada", context_tokens=1000)
    fused = await fuse(task, pool)
    (left_out,) = [candidate for candidate in fused.candidates if candidate.failure]
    assert left_out.member == "ada"
    assert left_out.failure is not None
    assert left_out.failure.code == ContextExceeded.code
    assert "tokens and its answer 32, its context 1000: it was not asked" in left_out.failure.message
    assert "by its length" not in left_out.failure.message, "it was counted"
    ada = pool.members["ada"]
    assert isinstance(ada, Heard)
    assert ada.calls == []

    shorter = replace(history, messages=(Message("user", "word " * 900),))
    task, pool = _scene(smollm2, "best-of", {"short": "It is Paris."}, shorter, "ada", context_tokens=1000)
    fused = await fuse(replace(task, preset=replace(task.preset, policy=Policy(quorum=2, deadline_s=240))), pool)
    assert {candidate.status for candidate in fused.candidates} == {"answered"}, "it fits, though it has 4,500 bytes"
