"""A straggler is waited for while it pays, by what its earlier calls took; one that never is in time costs nothing."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.limits.call_stats import CallStats
from fusion.testing import Answer, ScriptedMember

REQUESTS = 20


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("It is four."), delay_s=0.02),
        "claude": ScriptedMember(Answer("Four, I think."), delay_s=0.02),
        "slow": ScriptedMember(Answer("4?"), delay_s=2.0),
        "judge": ScriptedMember(Answer("It is four.")),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    panel, judges = ("mixtral", "claude", "slow"), ("judge",)
    preset = Preset("fusion/merge", "merge", panel, judges, Policy(quorum=2))
    request = Request((Message("user", "What is two and two?"),))
    call_stats = CallStats()

    waited_ms: list[float] = []
    for seed in range(REQUESTS):
        task = Task(preset, request, profiles, seed)
        fused = await fuse(task, Pool(members, profiles), call_stats=call_stats)
        waited_ms.append(fused.timings.panel_ms)

    print(f"the panel took {waited_ms[0]:.0f} ms at first and {waited_ms[-1]:.0f} ms once the straggler was known")
    print(fused.saved)
    assert fused.saved is not None
    assert fused.saved.cut_short == ("slow",)
    assert sorted(waited_ms)[REQUESTS // 2] < waited_ms[0]


asyncio.run(main())
