"""A deadline too short for the whole plan drops parts of it before anything is asked, and the answer says so."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.limits.call_stats import CallStats
from fusion.testing import Answer, ScriptedMember


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("It is four.")),
        "claude": ScriptedMember(Answer("Four, I think.")),
        "judge": ScriptedMember(Answer("It is four.")),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    request = Request((Message("user", "What is two and two?"),))

    # What earlier requests taught: an answer takes a second, a rebuttal two, the judge five.
    now = asyncio.get_running_loop().time()
    call_stats = CallStats()
    for _ in range(20):
        for member in ("mixtral", "claude"):
            call_stats.record(member, "panel", 1.0, answered=True, at=now)
            call_stats.record(member, "rebuttal", 2.0, answered=True, at=now)
        call_stats.record("judge", "write", 5.0, answered=True, at=now)

    for deadline_s, dropped in ((10.0, ()), (7.0, ("rebuttals",)), (4.0, ("rebuttals", "judge"))):
        preset = Preset("fusion/debate", "debate", ("mixtral", "claude"), ("judge",), Policy(2, deadline_s=deadline_s))
        fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles), call_stats=call_stats)
        print(f"{deadline_s:.0f} s: dropped {fused.dropped}; {fused.degraded}")
        assert fused.dropped == dropped


asyncio.run(main())
