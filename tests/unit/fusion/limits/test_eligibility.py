"""Members that cannot take a request are left out before anyone is asked, and reported."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.api.chat_response import fusion_body
from deployments.api.errors import error_body, status_of
from deployments.members.profiled import ProfiledMember, ProfiledTokenizer
from fusion.chat import Call, ImagePart, Message, Request, Sampling, TextPart, Tool, ToolCall
from fusion.errors import ContextExceeded, MemberError, MemberRejected, MemberUnavailable, NoQuorum, TakesNoImages
from fusion.limits.eligibility import TOKENIZER_TIMEOUT_S, drop_incapable_members, incapability_of, request_bytes
from fusion.member import MemberProfile
from fusion.presets import Pool, Task
from fusion.results import Failure, Fused, Mode
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import QUESTION, Recorder, favouring, profile, scene

PICTURE = Request((Message("user", (TextPart("What is this?"), ImagePart("data:image/png;base64,AA=="))),))
PANEL = ("ada", "bob", "cyd")


def long_request(words: int, **sampling: Any) -> Request:
    return Request((Message("user", "word " * words),), Sampling(**sampling))


def members(*names: str) -> dict[str, ScriptedMember]:
    return {name: ScriptedMember(Answer(f"{name} says four")) for name in names} | {
        "judge": ScriptedMember(favouring("four"))
    }


def task_of(
    panel: Mapping[str, MemberProfile], request: Request, quorum: int | None = None, mode: Mode = "best-of"
) -> Task:
    task, _ = scene(members(*panel), mode, request=request, quorum=quorum, profiles=panel)
    return task


class Counts:
    """A tokenizer that finds so many tokens in everything."""

    def __init__(self, tokens: int | BaseException | None) -> None:
        self.tokens = tokens
        self.calls: list[Call] = []

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        self.calls.append(call)
        if self.tokens is None:
            await asyncio.Event().wait()
        if isinstance(self.tokens, BaseException):
            raise self.tokens
        return [self.tokens or 0, *(len(text) for text in texts)]


async def asked(
    panel: Mapping[str, MemberProfile],
    request: Request,
    *,
    tokenizers: Mapping[str, Counts] | None = None,
    watcher: Recorder | None = None,
    scripted: Mapping[str, ScriptedMember] | None = None,
    **settings: Any,
) -> tuple[Fused, dict[str, ScriptedMember]]:
    everyone = members(*panel) | dict(scripted or {})
    task, pool = scene(everyone, request=request, profiles=panel, **settings)
    pool = replace(pool, tokenizers=tokenizers or {})
    return await fuse(task, pool, watcher=watcher), everyone


def blind(name: str) -> MemberProfile:
    return replace(profile(name), takes_images=False)


def small(name: str, context_tokens: int, **more: Any) -> MemberProfile:
    return replace(profile(name), context_tokens=context_tokens, **more)


# --- images -----------------------------------------------------------------------------------------------------------


async def test_images_go_to_those_who_take_them_and_the_others_are_reported() -> None:
    watcher = Recorder()
    panel = {"ada": profile("ada"), "bob": blind("bob"), "cyd": profile("cyd")}
    result, everyone = await asked(panel, PICTURE, watcher=watcher, quorum=2)
    assert everyone["bob"].calls == []
    assert everyone["ada"].calls[0].request.images == PICTURE.images
    outcomes = {candidate.member: candidate for candidate in result.candidates}
    assert {name: each.status for name, each in outcomes.items()} == {
        "ada": "answered",
        "cyd": "answered",
        "bob": "failed",
    }
    assert outcomes["bob"].failure == Failure(
        TakesNoImages.code, "it takes no images, and was not asked", rejected=True
    )
    assert outcomes["bob"].latency_ms == 0
    assert "bob failed in round 0" in watcher.story
    told = fusion_body(result, "fusion/test", [])["candidates"][-1]
    assert (told["member"], told["error"]["code"]) == ("bob", "images_not_supported")
    assert result.degraded is None


async def test_without_images_everyone_is_asked() -> None:
    result, everyone = await asked({"ada": blind("ada"), "bob": profile("bob")}, QUESTION, quorum=2)
    assert [len(everyone[name].calls) for name in ("ada", "bob")] == [1, 1]
    assert {candidate.status for candidate in result.candidates} == {"answered"}


async def test_the_quorum_is_that_of_those_who_are_asked() -> None:
    panel = {name: profile(name) for name in ("ada", "bob")} | {name: blind(name) for name in ("cyd", "dan", "eve")}
    failing = {"bob": ScriptedMember(Fail(MemberUnavailable("refused")))}
    result, _ = await asked(panel, PICTURE, scripted=failing)
    assert result.completion.text == "ada says four", "three of five would be a quorum, and one of two is"
    assert result.degraded == "single_candidate: ada"


async def test_the_only_one_who_is_asked_is_the_only_candidate_and_it_says_so() -> None:
    result, _ = await asked({"ada": blind("ada"), "bob": profile("bob")}, PICTURE)
    assert (result.completion.text, result.degraded) == ("bob says four", "single_candidate: bob")


@pytest.mark.parametrize("quorum", [None, 1])
def test_nobody_takes_images(quorum: int | None) -> None:
    with pytest.raises(TakesNoImages, match="no member of the panel can take images") as raised:
        drop_incapable_members(task_of({name: blind(name) for name in PANEL}, PICTURE, quorum), {})
    assert status_of(raised.value) == 400
    error = error_body(raised.value)["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "images_not_supported",
        "messages",
    )


def test_a_quorum_that_the_preset_fixes_is_kept() -> None:
    panel = {"ada": profile("ada"), "bob": blind("bob"), "cyd": profile("cyd")}
    assert drop_incapable_members(task_of(panel, PICTURE, 2), {}).preset.quorum == 2
    with pytest.raises(TakesNoImages, match="fewer members of the panel than its quorum of 3"):
        drop_incapable_members(task_of(panel, PICTURE, 3), {})


async def test_too_few_that_answer_are_reported_with_those_who_were_left_out() -> None:
    failing = ScriptedMember(Fail(MemberUnavailable("refused")))
    with pytest.raises(NoQuorum, match=r"bob failed \(images_not_supported\)") as raised:
        await asked({"ada": profile("ada"), "bob": blind("bob")}, PICTURE, scripted={"ada": failing})
    assert [candidate.member for candidate in raised.value.candidates] == ["ada", "bob"]
    assert status_of(raised.value) == 502


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate", "auto"])
async def test_every_mode_goes_on_without_those_who_cannot(mode: Mode) -> None:
    panel = {"ada": profile("ada"), "bob": blind("bob"), "cyd": profile("cyd")}
    result, everyone = await asked(panel, PICTURE, mode=mode, scripted={"judge": ScriptedMember(Answer("merged"))})
    assert everyone["bob"].calls == []
    assert [each.member for each in result.candidates if each.failure] == ["bob"]


async def test_a_judge_model_that_takes_no_images_is_told_of_them() -> None:
    everyone = members("ada", "bob")
    task, pool = scene(everyone, request=PICTURE, quorum=2, profiles={"judge": blind("judge")})
    result = await fuse(task, pool)
    (call,) = everyone["judge"].calls
    assert call.request.images == ()
    assert "[An image is here that you cannot see.]" in call.request.messages[-1].text
    assert "What is this?" in call.request.messages[-1].text
    assert result.judge == "judge"
    assert fusion_body(result, "fusion/test", [])["fit"] == {"shortened": (), "without_images": ("judge",)}


async def test_a_judge_model_that_takes_images_is_shown_them() -> None:
    result, everyone = await asked({"ada": profile("ada"), "bob": profile("bob")}, PICTURE, quorum=2)
    assert everyone["judge"].calls[0].request.images == PICTURE.images
    assert result.fit is None


async def test_who_stands_in_is_held_to_its_own_limits() -> None:
    backend = ScriptedMember()
    with pytest.raises(TakesNoImages):
        await ProfiledMember(backend, blind("ada")).ask(Call("ada", PICTURE, 1.0))
    with pytest.raises(ContextExceeded):
        await ProfiledMember(backend, small("ada", 50)).ask(Call("ada", long_request(500), 1.0))
    assert backend.calls == []


# --- length -----------------------------------------------------------------------------------------------------------


async def test_what_surely_fits_is_not_counted() -> None:
    tokenizer = Counts(0)
    panel = {"ada": small("ada", 4096, has_tokenizer=True), "bob": profile("bob")}
    await asked(panel, long_request(100, max_tokens=500), tokenizers={"ada": tokenizer})
    assert tokenizer.calls == []


@pytest.mark.parametrize(("tokens", "is_asked"), [(800, True), (801, False)])
async def test_what_is_in_doubt_is_counted_by_the_members_own_tokenizer(tokens: int, is_asked: bool) -> None:
    tokenizer = Counts(tokens)
    panel = {"ada": small("ada", 1000, has_tokenizer=True), "bob": profile("bob"), "cyd": profile("cyd")}
    result, everyone = await asked(panel, long_request(400, max_tokens=200), tokenizers={"ada": tokenizer})
    assert len(tokenizer.calls) == 1
    assert len(everyone["ada"].calls) == is_asked
    errors = {each.member: each.failure for each in result.candidates if each.failure}
    if not is_asked:
        assert errors["ada"].code == ContextExceeded.code
        assert errors["ada"].message == (
            "the prompt has 801 tokens and its answer 200, its context 1000: it was not asked"
        )
    else:
        assert errors == {}


async def test_the_members_own_limit_on_its_answer_counts_where_the_client_has_none() -> None:
    tokenizer = Counts(800)
    own = small("ada", 1000, has_tokenizer=True, sampling=Sampling(max_tokens=201))
    _, everyone = await asked({"ada": own, "bob": profile("bob")}, long_request(400), tokenizers={"ada": tokenizer})
    assert everyone["ada"].calls == []


@pytest.mark.parametrize("tokens", [MemberUnavailable("no"), None])
async def test_a_tokenizer_that_does_not_say_keeps_nobody_out(tokens: MemberError | None) -> None:
    began_at = asyncio.get_running_loop().time()
    panel = {"ada": small("ada", 1000, has_tokenizer=True), "bob": profile("bob")}
    result, _ = await asked(panel, long_request(400), tokenizers={"ada": Counts(tokens)}, quorum=2)
    assert {candidate.status for candidate in result.candidates} == {"answered"}
    waited_s = asyncio.get_running_loop().time() - began_at
    assert waited_s == (pytest.approx(TOKENIZER_TIMEOUT_S) if tokens is None else 0)


def test_without_a_tokenizer_a_member_is_left_out_when_it_surely_has_no_room() -> None:
    request = long_request(1000)  # some thousand tokens
    panel = {"ada": small("ada", 900), "bob": small("bob", 1100), "cyd": profile("cyd")}
    left = drop_incapable_members(task_of(panel, request), {})
    assert left.preset.panel == ("bob", "cyd")
    (out,) = left.left_out
    assert out.failure is not None
    assert out.failure.message.startswith("the prompt has some 1057 tokens by its length")


def test_a_backend_that_cuts_prompts_is_sent_what_surely_fits() -> None:
    request = long_request(1000)
    for tokens, is_asked in ((1500, False), (1800, True)):
        cutting = small("ada", tokens, truncates_silently=True)
        assert (incapability_of(cutting, request) is None) == is_asked
        assert incapability_of(small("bob", tokens), request) is None


def test_no_window_is_long_enough() -> None:
    panel = {"ada": small("ada", 100), "bob": small("bob", 200)}
    with pytest.raises(ContextExceeded, match="no member of the panel can take a prompt of this length") as raised:
        drop_incapable_members(task_of(panel, long_request(1000)), {})
    assert "context 100" in raised.value.message
    assert "context 200" in raised.value.message
    assert "word" not in raised.value.message
    error = error_body(raised.value)["error"]
    assert (status_of(raised.value), error["code"], error["param"]) == (400, "context_length_exceeded", "messages")


def test_reasons_that_differ_are_all_told() -> None:
    request = Request((Message("user", (TextPart("word " * 1000), *PICTURE.images)),))
    with pytest.raises(MemberRejected, match=r"ada: it takes no images.*bob: the prompt has") as raised:
        drop_incapable_members(task_of({"ada": blind("ada"), "bob": small("bob", 100)}, request), {})
    assert (type(raised.value), status_of(raised.value)) == (MemberRejected, 400)


async def test_a_members_system_prompt_is_counted_with_the_rest() -> None:
    tokenizer = Counts(7)
    voice = replace(profile("ada"), system="Be brief.")
    assert await ProfiledTokenizer(tokenizer, voice).count(Call("ada", QUESTION, 1.0), ["ab"]) == [7, 2]
    assert tokenizer.calls[0].request.messages[0] == Message("system", "Be brief.")


def test_all_that_a_model_reads_has_a_size() -> None:
    plain = request_bytes(QUESTION)
    called = Message("assistant", None, tool_calls=(ToolCall("1", "find", '{"a": 1}'),))
    assert request_bytes(replace(QUESTION, messages=(*QUESTION.messages, called))) > plain + len('find{"a": 1}')
    assert request_bytes(replace(QUESTION, tools=(Tool("find", "x" * 100),))) > plain + 100
    snowmen, letters = (Request((Message("user", text),)) for text in ("\N{SNOWMAN}" * 10, "x" * 30))
    assert request_bytes(snowmen) == request_bytes(letters)


# --- always -----------------------------------------------------------------------------------------------------------

_WINDOWS = st.none() | st.integers(1, 4000)
_PROFILES = st.lists(st.tuples(st.booleans(), _WINDOWS, st.none() | st.integers(0, 4000)), min_size=1, max_size=5)


@given(_PROFILES, st.booleans(), st.integers(0, 3000), st.none() | st.integers(1, 5), st.none() | st.integers(1, 2000))
def test_who_is_asked_can_take_it_and_who_is_left_out_cannot(
    kinds: list[tuple[bool, int | None, int | None]],
    has_image: bool,
    words: int,
    quorum: int | None,
    max_tokens: int | None,
) -> None:
    panel = {
        f"m{index}": replace(profile(f"m{index}"), takes_images=sees, context_tokens=window)
        for index, (sees, window, _) in enumerate(kinds)
    }
    counted = {f"m{index}": tokens for index, (_, _, tokens) in enumerate(kinds) if tokens is not None}
    image = PICTURE.images if has_image else ()
    request = Request((Message("user", (TextPart("word " * words), *image)),), Sampling(max_tokens=max_tokens))
    task = task_of(panel, request, quorum)
    errors: dict[str, MemberError] = {
        name: error for name, each in panel.items() if (error := incapability_of(each, request, counted.get(name)))
    }
    able = tuple(name for name in panel if name not in errors)
    try:
        left = drop_incapable_members(task, counted)
    except MemberRejected as error:
        assert len(able) < (task.preset.quorum if quorum else 1)
        assert all(name in error.message for name in errors)
        return
    assert left.preset.panel == able, "in order of trust"
    assert [each.member for each in left.left_out] == list(errors)
    assert left.preset.quorum <= len(able)
    for name in able:
        if has_image:
            assert panel[name].takes_images
    assert drop_incapable_members(left, counted) == left, "once is enough"


@given(st.integers(0, 2000), st.integers(1, 3000), st.integers(0, 500))
def test_a_longer_window_never_keeps_a_member_out(words: int, window: int, more: int) -> None:
    request = long_request(words)
    if incapability_of(small("ada", window), request) is None:
        assert incapability_of(small("ada", window + more), request) is None


def test_a_pool_without_limits_is_left_as_it_is() -> None:
    task, pool = scene(members("ada", "bob"))
    assert drop_incapable_members(task, {}) is task
    assert pool.tokenizers == Pool({}, {}).tokenizers == {}
