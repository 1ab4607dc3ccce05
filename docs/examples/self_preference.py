"""A judge model among its kin: models favour text like their own, so the verdict says who is related to the judge."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.testing import Answer, ScriptedMember

VERDICT = '{"reason": "", "scores": {"A": 7, "B": 8, "C": 6}}'


async def main() -> None:
    profiles = {
        "ours": MemberProfile("ours", "engine", "mistralai/Mixtral-8x22B-Instruct-v0.1"),
        "claude": MemberProfile("claude", "anthropic", "claude-sonnet"),
        "house": MemberProfile("house", "engine-2", "our-own-finetune", family="mistral"),
        "judge": MemberProfile("judge", "mistral", "mistral-large"),
    }
    members = {name: ScriptedMember(Answer(f"An answer by {name}.")) for name in profiles}
    members["judge"] = ScriptedMember(Answer(VERDICT))
    preset = Preset("fusion/strict", "best-of", ("ours", "claude", "house"), judges=("judge",), policy=Policy(quorum=3))
    request = Request((Message("user", "Which city is the largest?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    assert fused.verdict is not None
    for kin in fused.verdict.kin:
        print(f"{kin.judge} judged {kin.member}, which is of the same {kin.bond}")
    assert {kin.member: kin.bond for kin in fused.verdict.kin} == {"ours": "family", "house": "family"}


asyncio.run(main())
