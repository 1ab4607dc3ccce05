"""Remote members at vLLM's own HTTP server, through both of the protocols that it speaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cluster.cli.probe import probe
from cluster.config.loader import load
from cluster.serving.embedded_model import default_cache_dir, prepare
from deployments.providers.base import Api
from deployments.providers.member import RemoteMember
from fusion.chat import Completion, Delta, JsonSchema, Message, Tool, ToolCall
from fusion.errors import ContextExceeded, MemberError, MemberRejected, MemberUnauthorized
from tests.support.member_contract import CHECKS, Subject, ignore, tool_calls_in
from tests.vllm.engines import call
from tests.vllm.server import KEY, MODEL, Server, serving

APIS: tuple[Api, ...] = ("openai", "anthropic")
COLOURS = call("Name three colours.", 12, temperature=0.0)
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
WEATHER = Tool("weather", "The weather in a city", {**CITY, "additionalProperties": False}, strict=True)
CLOCK = Tool("clock", "The time of day")
VOTE = JsonSchema(
    "vote",
    {
        "type": "object",
        "properties": {"sum": {"type": "integer"}, "sure": {"enum": ["yes", "no"]}},
        "required": ["sum", "sure"],
        "additionalProperties": False,
    },
)

both = pytest.mark.parametrize("api", APIS)
watched = pytest.mark.parametrize("emit", [None, ignore], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(prepare(default_cache_dir(), print), tmp_path_factory.mktemp("server")) as started:
        yield started


@asynccontextmanager
async def member_at(server: Server, api: Api, **more: Any) -> AsyncIterator[RemoteMember]:
    member = server.member(api, **more)
    try:
        yield member
    finally:
        await member.aclose()


async def refusal(server: Server, api: Api, asked: Any = COLOURS, emit: object = None, **more: Any) -> MemberError:
    async with member_at(server, api, **more) as member:
        with pytest.raises(MemberError) as caught:
            await member.ask(asked, emit)
    assert KEY not in str(caught.value)
    assert "colours" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("check", CHECKS)
@both
async def test_a_remote_member_keeps_the_contract(
    server: Server, api: Api, check: Callable[[Subject], Awaitable[None]]
) -> None:
    """A cancelled call and one whose time is up stop the engine's work for them."""
    async with member_at(server, api) as member:
        await check(Subject(member, COLOURS, call("Tell me everything.", 1900), server.busy))


async def test_both_protocols_tell_the_same_streamed_or_not(server: Server) -> None:
    heard: dict[Api, list[Delta]] = {api: [] for api in APIS}
    answers: list[Completion] = []
    for api in APIS:
        async with member_at(server, api) as member:
            answers += [await member.ask(COLOURS), await member.ask(COLOURS, heard[api].append)]
    assert len({(answer.text, answer.finish_reason) for answer in answers}) == 1
    assert answers[0].finish_reason == "length"
    counts = {(answer.usage.input_tokens, answer.usage.output_tokens) for answer in answers if answer.usage}
    assert len(counts) == 1
    assert all(answer.usage and answer.usage.output_tokens == 12 for answer in answers)
    assert all(len(deltas) > 6 for deltas in heard.values())


@both
async def test_the_system_prompt_and_the_turns_before_arrive(server: Server, api: Api) -> None:
    question = COLOURS.request.messages
    brief, briefer = (
        Message("system", "Be brief."),
        Message("system", "Be brief, and say no more than you are asked for."),
    )
    earlier = (Message("user", "Hello, how are you?"), Message("assistant", "Very well, thank you."))
    conversations = ((brief, *question), (briefer, *question), (brief, *earlier, *question))
    read: list[int] = []
    async with member_at(server, api) as member:
        for messages in conversations:
            answer = await member.ask(replace(COLOURS, request=replace(COLOURS.request, messages=messages)))
            assert answer.usage is not None
            read.append(answer.usage.input_tokens)
    assert read[0] + 5 < min(read[1:])


@both
async def test_what_was_read_from_the_cache_is_told(server: Server, api: Api) -> None:
    asked = call("Tell me all of this again, from the start to the end. " * 8 + api, 4, temperature=0.0)
    async with member_at(server, api) as member:
        first, again = [(await member.ask(asked)).usage for _ in range(2)]
    assert first is not None
    assert again is not None
    assert again.input_tokens == first.input_tokens
    assert 0 < (again.cached_tokens or 0) <= again.input_tokens


@both
async def test_it_stops_where_it_is_told_to(server: Server, api: Api) -> None:
    async with member_at(server, api) as member:
        whole = await member.ask(COLOURS)
        word = whole.text.split()[3]
        cut = await member.ask(call("Name three colours.", 12, temperature=0.0, stop=(word,)))
    assert cut.text == whole.text[: whole.text.index(word)]
    assert cut.finish_reason == "stop"


@both
@watched
async def test_a_schema_is_kept_to(server: Server, api: Api, emit: Any) -> None:
    async with member_at(server, api) as member:
        asked = call("What is 2 + 2?", 96, temperature=0.0, response_schema=VOTE)
        answer = await member.ask(asked, emit)
    assert answer.finish_reason == "stop"
    jsonschema.validate(json.loads(answer.text), VOTE.schema)


@both
@watched
async def test_a_tool_that_must_be_called_is(server: Server, api: Api, emit: Any) -> None:
    heard: list[Delta] = []
    asked = call("Weather?", 96, temperature=0.0, tools=(WEATHER, CLOCK), tool_choice="function:weather")
    async with member_at(server, api) as member:
        answer = await member.ask(asked, heard.append if emit else None)
    (made,) = answer.tool_calls
    assert made.id
    assert made.name == "weather"
    jsonschema.validate(json.loads(made.arguments), CITY)
    assert answer.finish_reason == "tool_calls"
    assert not emit or tool_calls_in(heard) == answer.tool_calls


@both
@pytest.mark.parametrize("choice", [None, "auto", "none"])
async def test_a_tool_may_be_offered(server: Server, api: Api, choice: str | None) -> None:
    asked = call("Say hello.", 8, temperature=0.0, tools=(CLOCK,), tool_choice=choice)
    async with member_at(server, api) as member:
        assert (await member.ask(asked)).text


@both
async def test_calls_and_their_results_are_taken_back(server: Server, api: Api) -> None:
    asked = call("Weather?", 8, temperature=0.0, tools=(WEATHER,))
    made = Message("assistant", None, tool_calls=(ToolCall("call_1", "weather", '{"city": "Oslo"}'),))
    turns = (*asked.request.messages, made, Message("tool", "It rains in Oslo.", tool_call_id="call_1"))
    async with member_at(server, api) as member:
        before = await member.ask(asked)
        after = await member.ask(replace(asked, request=replace(asked.request, messages=turns)))
    assert after.text
    assert before.usage is not None
    assert after.usage is not None
    assert after.usage.input_tokens > before.usage.input_tokens


async def test_a_seed_says_what_is_drawn(server: Server) -> None:
    async with member_at(server, "openai") as member:
        one, same, other = await asyncio.gather(
            *(member.ask(call("Tell a story.", 16, temperature=1.0, seed=seed)) for seed in (7, 7, 8))
        )
    assert one.text == same.text != other.text
    # The other protocol has no place for one.
    refused = await refusal(server, "anthropic", call("Tell a story.", 16, seed=7))
    assert refused.message.startswith("seed is not supported")


@both
@watched
@pytest.mark.parametrize("key", ["wrong", None])
async def test_a_wrong_key(server: Server, api: Api, key: str | None, emit: object) -> None:
    error = await refusal(server, api, emit=emit, key=key)
    assert type(error) is MemberUnauthorized
    assert error.message == "HTTP 401"


@both
@watched
async def test_an_unknown_model(server: Server, api: Api, emit: object) -> None:
    error = await refusal(server, api, emit=emit, model="nobody")
    assert type(error) is MemberRejected
    assert error.message == "HTTP 404 (NotFoundError)"


@both
@watched
@pytest.mark.parametrize(("question", "max_tokens"), [("colours " * 3000, 8), ("hi", 6000)], ids=["prompt", "answer"])
async def test_what_does_not_fit(server: Server, api: Api, question: str, max_tokens: int, emit: object) -> None:
    error = await refusal(server, api, call(question, max_tokens), emit)
    assert type(error) is ContextExceeded
    assert error.message == "HTTP 400 (context_length_exceeded)"


@both
async def test_a_schema_that_is_none(server: Server, api: Api) -> None:
    error = await refusal(server, api, call("hi", 8, response_schema=JsonSchema("a", {"type": "no such type"})))
    assert type(error) is MemberRejected
    assert error.message == "HTTP 400 (BadRequestError)"


async def test_the_live_check_finds_it_well(server: Server, tmp_path: Path) -> None:
    config = {
        "backends": {
            f"{api}-{key}": {
                "kind": "remote",
                "api": api,
                "base_url": f"{server.url}/v1",
                "api_key_file": str(server.keys / key),
                # It shares its cores with the other engines here.
                "timeouts": {"first_token_s": 400, "idle_s": 400, "total_s": 400},
            }
            for api in APIS
            for key in ("right", "wrong")
        },
    }
    config["members"] = {name: {"backend": name, "model": MODEL} for name in config["backends"]}
    config["presets"] = {"fusion/merge": {"mode": "merge", "panel": ["openai-right"], "judge": "openai-right"}}
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps(config))
    for found in await probe(load(file), total_s=400):
        good = found.backend.endswith("right")
        assert (found.passed, found.reachable, found.key_valid) == (good, True, good), found
        assert (found.model_known, found.streams, found.tools) == ((True,) * 3 if good else (None,) * 3), found
