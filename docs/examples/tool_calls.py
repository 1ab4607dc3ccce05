"""Candidates that call tools are voted on, argument by argument, and no call is made that no member made."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Tool, ToolCall
from fusion.testing import Answer, ScriptedMember


def calling(arguments: str) -> ScriptedMember:
    return ScriptedMember(Answer("", (ToolCall("call_1", "forecast", arguments),), finish_reason="tool_calls"))


async def main() -> None:
    members = {
        "mixtral": calling('{"city": "Oslo", "days": 3}'),
        "claude": calling('{"city": "Oslo", "days": 4}'),
        "gemini": calling('{"city": "Bergen", "days": 3}'),
        "judge": ScriptedMember(),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=3)
    preset = Preset("fusion/merge", "merge", panel=("gemini", "claude", "mixtral"), judges=("judge",), policy=policy)
    forecast = Tool("forecast", None, {"type": "object", "properties": {"city": {"type": "string"}}})
    request = Request((Message("user", "Will it rain in Oslo?"),), tools=(forecast,))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    print(fused.completion.tool_calls[0])
    assert fused.assembly is not None
    print(fused.assembly.tool_vote)
    assert fused.completion.tool_calls[0].arguments == '{"city": "Oslo", "days": 3}'
    assert members["judge"].calls == []


asyncio.run(main())
