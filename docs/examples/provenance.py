"""Which members' candidates support each sentence of a merged answer, without another call."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.testing import Answer, ScriptedMember
from fusion.text.provenance import provenance

MERGED = "Oslo is the capital of Norway. About 700 thousand people live there. It was founded by Vikings from Mars."


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("As far as I know, Oslo is the capital of Norway, in the south-east.")),
        "claude": ScriptedMember(Answer("Oslo is the capital of Norway. About 700 thousand people live there today.")),
        "judge": ScriptedMember(Answer(MERGED)),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    preset = Preset("fusion/merge", "merge", panel=("mixtral", "claude"), judges=("judge",), policy=Policy(quorum=2))
    request = Request((Message("user", "Tell me about Oslo."),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    parts = provenance(fused)
    for part in parts:
        print(f"{', '.join(part.members) or 'nobody'}: {fused.completion.text[part.start : part.end]}")
    assert [part.members for part in parts] == [("mixtral", "claude"), ("claude",), ()]


asyncio.run(main())
