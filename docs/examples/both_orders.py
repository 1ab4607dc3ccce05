"""A judge model that likes whatever it is shown first decides nothing: two opposite orders that disagree are a tie."""

import asyncio
import re

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.testing import Answer, Reply, ScriptedMember


def likes_the_first(call: Call) -> str:
    shown = re.findall(r"^<answer (\w)", call.request.messages[-1].text, re.MULTILINE)
    scores = ", ".join(f'"{label}": {9 if label == shown[0] else 3}' for label in shown)
    return f'{{"reason": "it came first", "scores": {{{scores}}}}}'


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("91 is 7 times 13, so it is not a prime.")),
        "claude": ScriptedMember(Answer("Yes, 91 is a prime.")),
        "judge": ScriptedMember(Reply(likes_the_first)),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=2)
    preset = Preset("fusion/best-of", "best-of", panel=("mixtral", "claude"), judges=("judge",), policy=policy)
    request = Request((Message("user", "Is 91 a prime?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    assert fused.verdict is not None
    print(fused.completion.text)
    print(f"the orders agreed: {fused.verdict.agreed}; settled by {fused.verdict.tie_broken_by}")
    assert fused.verdict.winner == "mixtral"
    assert (fused.verdict.agreed, fused.verdict.tie_broken_by) == (False, "trust")


asyncio.run(main())
