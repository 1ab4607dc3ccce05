"""Three judges at once: their ranks are combined, so that one who exaggerates has no more to say than the others."""

import asyncio
import json
import re

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.testing import Answer, Reply, ScriptedMember


def scoring(tokyo: int, osaka: int) -> ScriptedMember:
    def verdict(call: Call) -> str:
        shown = re.findall(r"^<answer (\w) \w+>\n\| (.*)$", call.request.messages[-1].text, re.MULTILINE)
        scores = {label: tokyo if "Tokyo" in text else osaka for label, text in shown}
        return json.dumps({"reason": "", "scores": scores})

    return ScriptedMember(Reply(verdict))


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("It is Osaka.")),
        "claude": ScriptedMember(Answer("It is Tokyo.")),
        "loud": scoring(tokyo=0, osaka=10),
        "calm": scoring(tokyo=6, osaka=5),
        "calmer": scoring(tokyo=7, osaka=6),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=2)
    preset = Preset(
        "fusion/jury", "best-of", ("mixtral", "claude"), judges=("loud", "calm", "calmer"), jury=True, policy=policy
    )
    request = Request((Message("user", "What is the capital of Japan?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    assert fused.verdict is not None
    assert fused.verdict.jury is not None
    print(fused.completion.text)
    print(f"points: {fused.verdict.jury.points}; mean scores: {fused.verdict.scores}")
    assert fused.completion.text == "It is Tokyo."
    assert fused.verdict.jury.points == {"mixtral": 1.0, "claude": 2.0}
    assert [len(members[judge].calls) for judge in preset.judges] == [2, 2, 2]  # in both orders


asyncio.run(main())
