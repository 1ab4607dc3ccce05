"""A preset's own criteria, each with a weight: the verdict has a score for every one of them."""

import asyncio
import json
import re

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.presets import Criterion
from fusion.testing import Answer, Reply, ScriptedMember

LONG = "It is 4, because 2 and 2 more make 4, as anyone can count on their fingers."


def by_criterion(call: Call) -> str:
    shown = re.findall(r"^<answer (\w) \w+>\n\| (.*)$", call.request.messages[-1].text, re.MULTILINE)
    scores = {label: {"correct": 9, "brief": 2 if text == LONG else 10} for label, text in shown}
    return json.dumps({"reason": "", "scores": scores})


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer(LONG)),
        "claude": ScriptedMember(Answer("4.")),
        "judge": ScriptedMember(Reply(by_criterion)),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    rubric = (Criterion("correct", 3, "is it true"), Criterion("brief", 1))
    policy = Policy(quorum=2)
    preset = Preset("fusion/brief", "best-of", ("mixtral", "claude"), judges=("judge",), rubric=rubric, policy=policy)
    request = Request((Message("user", "What is two and two?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    assert fused.verdict is not None
    print(fused.completion.text)
    print(f"{fused.verdict.criteria} make {fused.verdict.scores}")
    assert fused.completion.text == "4."
    assert fused.verdict.criteria["mixtral"] == {"correct": 9, "brief": 2}
    assert fused.verdict.scores == {"mixtral": (3 * 9 + 2) / 4, "claude": (3 * 9 + 10) / 4}


asyncio.run(main())
