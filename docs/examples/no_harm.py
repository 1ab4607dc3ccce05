"""A merge that loses to the best candidate is not returned; the candidate is, and the result says so."""

import asyncio
import json
import re

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.testing import Answer, Reply, ScriptedMember

SCORES = {"Lima.": 9, "Quito.": 1, "Lima, or perhaps Quito.": 4}


def judge(call: Call) -> str:
    """Spoils the merge, but knows a good answer when it sees one."""
    if call.request.response_schema is None:
        return "Lima, or perhaps Quito."
    shown = re.findall(r"^<answer (\w) \w+>\n\| (.*)$", call.request.messages[-1].text, re.MULTILINE)
    return json.dumps({"reason": "", "scores": {label: SCORES[text] for label, text in shown}})


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("Quito.")),
        "claude": ScriptedMember(Answer("Lima.")),
        "judge": ScriptedMember(Reply(judge)),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=2)
    preset = Preset("fusion/merge", "merge", ("mixtral", "claude"), judges=("judge",), no_harm=True, policy=policy)
    request = Request((Message("user", "What is the capital of Peru?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    print(fused.completion.text)
    print(fused.degraded)
    assert fused.completion.text == "Lima."
    assert fused.no_harm is not None
    assert fused.no_harm.returned == "claude"
    assert fused.degraded == "merge_lost: judge prefers claude's candidate"


asyncio.run(main())
