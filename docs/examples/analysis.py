"""Where the candidates agree and differ, found by a second call while the merge is being written."""

import asyncio
import json
import re

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.testing import Answer, Reply, ScriptedMember


def judge(call: Call) -> str:
    """Writes a merge, or the analysis when it is asked for that."""
    if call.request.response_schema is None:
        return "Use a queue, and bound it."
    shown = re.findall(r"^<answer (\w) \w+>\n\| (.*)$", call.request.messages[-1].text, re.MULTILINE)
    labels = {text: label for label, text in shown}
    return json.dumps(
        {
            "consensus": [{"text": "Use a queue.", "answers": [*labels.values()]}],
            "contradictions": [],
            "partial_coverage": [],
            "unique_insights": [{"text": "It has to be bounded.", "answers": [labels["A bounded queue."]]}],
            "blind_spots": ["What happens when it is full."],
        }
    )


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("A queue.")),
        "claude": ScriptedMember(Answer("A bounded queue.")),
        "judge": ScriptedMember(Reply(judge), delay_s=0.02),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=2)
    preset = Preset("fusion/merge", "merge", ("mixtral", "claude"), judges=("judge",), analysis="beside", policy=policy)
    request = Request((Message("user", "How do I hand work from one thread to another?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    assert fused.analysis is not None
    print(fused.completion.text)
    print(fused.analysis)
    assert fused.analysis.consensus[0].members in (("mixtral", "claude"), ("claude", "mixtral"))
    assert fused.analysis.unique_insights[0].members == ("claude",)
    assert {spent.stage: spent.calls for spent in fused.stages} == {"panel": 2, "judge": 1, "analysis": 1}


asyncio.run(main())
