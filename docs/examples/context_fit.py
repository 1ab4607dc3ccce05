"""Candidates that do not fit a judge model's context together are shortened fairly, and the result says by how much."""

import asyncio
import json
import re
from collections.abc import Sequence

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.testing import Answer, Reply, ScriptedMember

CLAUSES = [f"{number}. The tenant may end the lease under clause {number}." for number in range(1, 200)]


class Words:
    """A tokenizer, where a member has one of its own: here every word is a token."""

    async def count(self, call: Call, texts: Sequence[str] = ()) -> Sequence[int]:
        prompt = sum(len(message.text.split()) for message in call.request.messages)
        return [prompt, *(len(text.split()) for text in texts)]


def judge(call: Call) -> str:
    """Prefers the answer that is shown to come to the most clauses."""
    shown = re.findall(r"^<answer (\w) \w+>\n(.*?)\n</answer", call.request.messages[-1].text, re.MULTILINE | re.DOTALL)
    return json.dumps({"reason": "", "scores": {label: 9 if "clause 199" in text else 2 for label, text in shown}})


async def main() -> None:
    members = {
        "brief": ScriptedMember(Answer("Yes, under clause 7.")),
        "thorough": ScriptedMember(Answer("\n".join(CLAUSES))),
        "rambling": ScriptedMember(Answer("\n".join(f"{clause} So it seems to me." for clause in CLAUSES[:150]))),
        "judge": ScriptedMember(Reply(judge)),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    profiles["judge"] = MemberProfile("judge", "judge", "judge", context_tokens=2048, has_tokenizer=True)
    panel = ("brief", "thorough", "rambling")
    preset = Preset("fusion/best-of", "best-of", panel, ("judge",), Policy(quorum=3), both_orders=False)
    request = Request((Message("user", "May the tenant leave?"),))
    pool = Pool(members, profiles, tokenizers={"judge": Words()})

    fused = await fuse(Task(preset, request, profiles, seed=1), pool)

    (call,) = members["judge"].calls
    print(*(line for line in call.request.messages[-1].text.splitlines() if line.startswith("[")), sep="\n")
    assert fused.fit is not None
    for cut in fused.fit.shortened:
        print(f"{cut.reader} was shown {cut.shown_tokens} of the {cut.tokens} tokens of {cut.member}'s candidate")
    assert {cut.member for cut in fused.fit.shortened} == {"thorough", "rambling"}, "the short one stays whole"
    assert fused.completion.text == "\n".join(CLAUSES), "the winner comes back as it was written"


asyncio.run(main())
