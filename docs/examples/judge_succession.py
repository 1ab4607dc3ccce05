"""A judge model that fails gives way to the next in line; the panel is not asked again, and `degraded` says so."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.errors import MemberUnavailable
from fusion.testing import Answer, Fail, ScriptedMember


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("Paris.")),
        "claude": ScriptedMember(Answer("It is Paris.")),
        "first-judge": ScriptedMember(Fail(MemberUnavailable("refused"))),
        "second-judge": ScriptedMember(Answer("The capital of France is Paris.")),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=2)
    preset = Preset(
        "fusion/merge", "merge", panel=("mixtral", "claude"), judges=("first-judge", "second-judge"), policy=policy
    )
    request = Request((Message("user", "What is the capital of France?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    print(fused.completion.text)
    print(f"decided by {fused.judge}; {fused.degraded}")
    assert fused.judge == "second-judge"
    assert fused.degraded == "judge_replaced: first-judge (unavailable)"
    assert len(members["mixtral"].calls) == 1


asyncio.run(main())
