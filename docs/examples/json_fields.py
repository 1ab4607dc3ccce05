"""JSON answers are fused field by field: a median, votes, and no judge where no long text differs."""

import asyncio
import json

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import JsonSchema
from fusion.testing import Answer, ScriptedMember

CITY = JsonSchema(
    "city",
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "people": {"type": "integer"}, "capital": {"type": "boolean"}},
        "required": ["name", "people", "capital"],
        "additionalProperties": False,
    },
)


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer('{"name": "Oslo", "people": 709000, "capital": true}')),
        "claude": ScriptedMember(Answer('{"name": "Oslo", "people": 717000, "capital": true}')),
        "gemini": ScriptedMember(Answer('{"name": "Bergen", "people": 99, "capital": false}')),
        "judge": ScriptedMember(),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=3)
    preset = Preset("fusion/merge", "merge", panel=("mixtral", "claude", "gemini"), judges=("judge",), policy=policy)
    request = Request((Message("user", "What is Norway's capital?"),), response_schema=CITY)

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    print(fused.completion.text)
    assert fused.assembly is not None
    for field in fused.assembly.fields:
        print(f"{field.path}: {field.how}")
    assert json.loads(fused.completion.text) == {"name": "Oslo", "people": 709000, "capital": True}
    assert members["judge"].calls == []


asyncio.run(main())
