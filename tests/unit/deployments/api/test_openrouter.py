"""OpenRouter's form: what it says in our words, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.api.chat_request import ChatRequest, parse_chat
from deployments.api.models import Catalogue
from deployments.api.openrouter import UNSUPPORTED, Unsupported
from fusion.chat import Reasoning, Request, Sampling
from fusion.errors import InvalidRequest, UnknownModel
from fusion.member import MemberProfile
from fusion.presets import Preset
from fusion.testing import Answer, ScriptedMember
from tests.support.panels import QUESTION, favouring, fused

CATALOGUE = Catalogue(
    {
        "fusion/merge": Preset("fusion/merge", "merge", ("ada", "bob"), ("cyd", "ada")),
        "fusion/strict": Preset("fusion/strict", "best-of", ("bob", "cyd"), ("ada",)),
    },
    {name: MemberProfile(name, "api", f"vendor/{name}") for name in ("ada", "bob", "cyd")},
    "fusion/merge",
)
HIGH = Reasoning("high")


def parsed(model: str = "openrouter/fusion", **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "?"}]
    return parse_chat(json.dumps({"model": model, "messages": messages, **fields}).encode())


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        looked_up(**fields)
    return caught.value


def looked_up(**fields: Any) -> None:
    chat = parsed(**fields)
    CATALOGUE.member_of(chat)
    CATALOGUE.preset_of(chat)


def plugin(**settings: Any) -> dict[str, Any]:
    return {"plugins": [{"id": "fusion", **settings}]}


def tool(**parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "openrouter:fusion", "parameters": parameters}]}


@pytest.mark.parametrize("form", [plugin, tool], ids=["plugin", "tool"])
def test_models_are_named_as_members_or_by_their_slugs(form: Any) -> None:
    chat = parsed(**form(analysis_models=["vendor/bob", "ada"], model="vendor/cyd"))
    assert CATALOGUE.member_of(chat) is None
    preset = CATALOGUE.preset_of(chat)
    assert (preset.name, preset.panel, preset.judges) == ("fusion/merge", ("bob", "ada"), ("cyd",))


@pytest.mark.parametrize("form", [plugin, tool], ids=["plugin", "tool"])
def test_a_members_own_request_is_fused_with_that_member_as_judge(form: Any) -> None:
    chat = parsed("bob", **form(analysis_models=["ada", "cyd"]))
    assert CATALOGUE.member_of(chat) is None
    assert CATALOGUE.preset_of(chat).judges == ("bob",)
    assert CATALOGUE.preset_of(parsed("bob", **form(model="ada"))).judges == ("ada",)


def test_without_settings_the_default_preset_answers() -> None:
    assert CATALOGUE.preset_of(parsed()) == CATALOGUE.presets["fusion/merge"]
    assert CATALOGUE.preset_of(parsed(**plugin())) == CATALOGUE.presets["fusion/merge"]


def test_a_preset_is_named_by_its_id() -> None:
    assert CATALOGUE.preset_of(parsed(**plugin(preset="fusion/strict"))) == CATALOGUE.presets["fusion/strict"]
    error = refusal(**plugin(preset="general-high"))
    assert error.param == "plugins[0].preset"
    assert "fusion/strict" in str(error)


def test_a_plugin_that_is_switched_off_leaves_the_writer_alone() -> None:
    assert CATALOGUE.member_of(parsed(**plugin(enabled=False))) == "cyd"
    assert CATALOGUE.member_of(parsed(**plugin(enabled=False, model="bob"))) == "bob"
    assert CATALOGUE.member_of(parsed("ada", **plugin(enabled=False))) == "ada"
    with pytest.raises(UnknownModel):
        CATALOGUE.member_of(parsed("nobody", **plugin(enabled=False)))


@pytest.mark.parametrize("form", [plugin, tool], ids=["plugin", "tool"])
def test_settings_go_to_the_panel_and_to_judging_but_for_the_temperature(form: Any) -> None:
    chat = parsed(temperature=1.0, **form(temperature=0.2, max_completion_tokens=50, reasoning={"effort": "high"}))
    assert chat.panel_sampling == Sampling(temperature=0.2, max_tokens=50, reasoning=HIGH)
    assert chat.judge_sampling == Sampling(max_tokens=50, reasoning=HIGH)
    assert chat.request.sampling == Sampling(temperature=1.0)


def test_a_judge_that_thinks_has_room_for_it() -> None:
    assert parsed(**plugin(reasoning={"effort": "low"})).judge_sampling.max_tokens == 16_000
    assert parsed(**plugin(reasoning={"effort": "none"})).judge_sampling.max_tokens is None
    assert parsed(**plugin()).judge_sampling == Sampling()


async def test_who_is_asked_with_what() -> None:
    ada, judge = ScriptedMember(Answer("four")), ScriptedMember(favouring("four"), Answer("It is four."))
    settings: dict[str, Any] = {
        "quorum": 2,
        "panel_sampling": Sampling(temperature=0.2, max_tokens=50),
        "judge_sampling": Sampling(max_tokens=60, reasoning=HIGH),
        "request": Request(QUESTION.messages, Sampling(temperature=0.9, max_tokens=9, seed=1)),
    }
    members = {"ada": ada, "bob": ScriptedMember(Answer("five")), "judge": judge}
    await fused(members, "best-of", **settings)
    await fused(members, "merge", **settings)
    assert ada.calls[0].request.sampling == Sampling(temperature=0.2, max_tokens=50, seed=1)
    assert judge.calls[0].request.sampling == Sampling(temperature=0.0, max_tokens=60, reasoning=HIGH)
    assert judge.calls[1].request.sampling == Sampling(temperature=0.9, max_tokens=9, seed=1, reasoning=HIGH)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"reasoning": {"effort": "high"}}, HIGH),
        ({"reasoning": {"max_tokens": 2000}}, Reasoning(max_tokens=2000)),
        ({"reasoning": {"enabled": True}}, Reasoning("medium")),
        ({"reasoning": {"enabled": False}}, Reasoning("none")),
        ({"reasoning": {"exclude": True}}, None),
        ({"reasoning_effort": "minimal"}, Reasoning("minimal")),
        ({}, None),
    ],
)
def test_reasoning_is_asked_for_in_both_ways(asked: dict[str, Any], wanted: Reasoning | None) -> None:
    assert parsed(**asked).request.sampling.reasoning == wanted


@pytest.mark.parametrize(
    ("model", "asked", "shown"),
    [
        ("fusion/merge", {}, "reasoning_content"),
        ("fusion/merge", {"reasoning_effort": "low"}, "reasoning_content"),
        ("openrouter/fusion", {}, "reasoning"),
        ("fusion/merge", {"reasoning": {"effort": "low"}}, "reasoning"),
        ("fusion/merge", {"reasoning": {"exclude": True}}, None),
        ("fusion/merge", {"include_reasoning": False}, None),
    ],
)
def test_reasoning_is_shown_as_the_client_knows_it(model: str, asked: dict[str, Any], shown: str | None) -> None:
    assert parsed(model, **asked).reasoning_field == shown


def test_a_choice_of_tools_is_about_fusion_when_there_is_no_other_tool() -> None:
    function = {"type": "function", "function": {"name": "f"}}
    assert parsed(tool_choice="required").request.tool_choice is None
    assert parsed("ada", tool_choice="required", **tool()).request.tool_choice is None
    both = parsed("ada", tool_choice="required", tools=[function, *tool()["tools"]])
    assert (both.request.tool_choice, [tool.name for tool in both.request.tools]) == ("required", ["f"])
    assert refusal(model="ada", tool_choice="required").param == "tool_choice"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"plugins": [{"id": "web", "max_results": 3}]}, "plugins[0].id"),
        ({"plugins": [{"id": "fusion"}, {"id": "fusion"}]}, "plugins[1]"),
        (plugin(max_tool_calls=4), "plugins[0].max_tool_calls"),
        (plugin(tools=[{"type": "openrouter:web_search"}]), "plugins[0].tools"),
        (plugin(mode="fast"), "plugins[0].mode"),
        (plugin(analysis_model=["ada"]), "plugins[0].analysis_model"),
        (plugin(analysis_models=[]), "plugins[0].analysis_models"),
        (plugin(analysis_models=["ada", "nobody"]), "plugins[0].analysis_models[1]"),
        (plugin(model="nobody"), "plugins[0].model[0]"),
        (plugin(temperature=3), "plugins[0].temperature"),
        (plugin(reasoning={"effort": "huge"}), "plugins[0].reasoning.effort"),
        (tool(max_tool_calls=4), "tools[0].parameters.max_tool_calls"),
        (tool(analysis_models=["nobody"]), "tools[0].parameters.analysis_models[0]"),
        ({"tools": [{"type": "openrouter:web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "openrouter:fusion"}, {"type": "openrouter:fusion"}]}, "tools[1]"),
        ({"fusion": {}, **plugin()}, "plugins"),
        ({**plugin(), **tool()}, "tools"),
        ({"reasoning": {"effort": "low", "max_tokens": 5}}, "reasoning"),
        ({"reasoning": {"effort": "low", "enabled": False}}, "reasoning"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "low"}, "reasoning_effort"),
        ({"transforms": ["middle-out"]}, "transforms"),
        ({"models": ["ada", "bob"]}, "models"),
        ({"provider": {"order": ["x"]}}, "provider"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"top_k": 40}, "top_k"),
        ({"modalities": ["audio"]}, "modalities[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_not_possible_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_unsupported_fields_may_be_there_as_long_as_they_say_nothing() -> None:
    assert set(Unsupported.model_fields) == set(UNSUPPORTED)
    assert parsed(**dict.fromkeys(UNSUPPORTED)) == parsed(provider={}, transforms=[], models=[], modalities=["text"])


def test_an_answer_may_be_sent_back_as_it_came() -> None:
    answer = {"role": "assistant", "content": "4", "reasoning": "2+2", "reasoning_content": "2+2", "annotations": []}
    answer |= dict.fromkeys(("audio", "function_call", "tool_calls", "refusal"))
    chat = parsed(messages=[{"role": "user", "content": "?"}, answer, {"role": "user", "content": "sure?"}])
    assert chat.request.messages[1].content == "4"
