"""A merge whose judge model refers to a member's code: it comes out byte for byte. A table that the judge model writes
itself stays as it wrote it."""

import asyncio
import re

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call
from fusion.testing import Answer, Reply, ScriptedMember

CODE = "```make\nall: build\n\t./build --fast  # with a tab\n```"
TABLE = "| target | seconds |\n|--------|--------:|\n| all    |      12 |"
OWN_TABLE = "|target|seconds|\n|---|---:|\n|all|12|"


def judge(call: Call) -> str:
    """Write the reference that stands before the code, and the table from memory."""
    shown = call.request.messages[-1].text
    reference = re.search(r"(\[\[.*\]\])\n```make", shown)
    assert reference
    return f"Build with this:\n\n{reference[1]}\n\nIt takes:\n\n{OWN_TABLE}\n"


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer(f"A Makefile will do:\n\n{CODE}\n")),
        "claude": ScriptedMember(Answer(f"I measured it:\n\n{TABLE}\n")),
        "judge": ScriptedMember(Reply(judge)),
    }
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    preset = Preset("fusion/merge", "merge", panel=("mixtral", "claude"), judges=("judge",), policy=Policy(quorum=2))
    request = Request((Message("user", "How do I build this, and how long does it take?"),))

    fused = await fuse(Task(preset, request, profiles, seed=1), Pool(members, profiles))

    print(fused.completion.text)
    assert fused.completion.text == f"Build with this:\n\n{CODE}\n\nIt takes:\n\n{OWN_TABLE}\n"
    assert fused.assembly is not None
    for block in fused.assembly.blocks:
        print(f"{block.kind} of {', '.join(block.members)}: {block.how}")
    assert [(block.kind, block.how) for block in fused.assembly.blocks] == [("code", "referred")]


asyncio.run(main())
