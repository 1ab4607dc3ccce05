"""Two cheap members answer first; only where they differ is the panel convened, and they keep their places in it."""

import asyncio

from fusion import Fused, MemberProfile, Message, Pool, Preset, Request, Task, fuse
from fusion.pricing import Price
from fusion.testing import Answer, ScriptedMember

PRICES = {"frontier": Price(10, 40), "small": Price(0.1, 0.4), "tiny": Price(0.05, 0.2), "judge": Price(3, 15)}


async def ask(small: str, tiny: str) -> Fused:
    members = {
        "frontier": ScriptedMember(Answer("-4"), delay_s=0.02),
        "small": ScriptedMember(Answer(small), delay_s=0.01),
        "tiny": ScriptedMember(Answer(tiny), delay_s=0.01),
        "judge": ScriptedMember(Answer("It is -4.")),
    }
    profiles = {name: MemberProfile(name, name, name, price=PRICES[name]) for name in members}
    preset = Preset("fusion/auto", "auto", panel=("frontier", "small", "tiny"), judges=("judge",))
    request = Request((Message("user", "What is two less six?"),))
    return await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))


async def main() -> None:
    agreed = await ask("The answer is -4.", "-4")
    print(agreed.completion.text, [candidate.member for candidate in agreed.candidates], agreed.saved)
    assert [candidate.member for candidate in agreed.candidates] == ["small", "tiny"]
    assert agreed.saved is not None
    assert (agreed.saved.judge_calls, agreed.saved.unasked) == (1, ("frontier",))

    differed = await ask("4", "8")
    print(differed.completion.text, [(spent.stage, spent.calls, spent.cost_usd) for spent in differed.stages])
    assert [candidate.member for candidate in differed.candidates] == ["frontier", "small", "tiny"]
    assert [(spent.stage, spent.calls) for spent in differed.stages] == [("panel", 3), ("judge", 1)]
    assert differed.completion.text == "It is -4."


asyncio.run(main())
