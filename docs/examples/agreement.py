"""When a quorum of candidates says the same, nobody waits for the others and no judge model is asked."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.testing import Answer, Hang, ScriptedMember


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("The answer is 1,000.")),
        "claude": ScriptedMember(Answer("1000.0")),
        "gemini": ScriptedMember(Hang()),
        "judge": ScriptedMember(Answer("never asked")),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    preset = Preset("fusion/merge", "merge", ("mixtral", "claude", "gemini"), ("judge",), Policy(deadline_s=60))
    request = Request((Message("user", "How many metres are a kilometre?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    print(fused.completion.text)
    print(fused.agreement)
    assert fused.agreement is not None
    assert fused.agreement.agreed
    assert fused.agreement.members == ("mixtral", "claude")
    assert members["judge"].calls == []
    assert members["gemini"].cancelled == 1


asyncio.run(main())
