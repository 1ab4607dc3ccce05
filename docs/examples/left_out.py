"""Images and long histories go to the members that can take them; the others are left out, and reported."""

import asyncio
from dataclasses import replace

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.chat import Call, ImagePart, TextPart
from fusion.errors import ContextExceeded
from fusion.testing import Answer, Reply, ScriptedMember

SEEN: list[int] = []


def writes(call: Call) -> str:
    """A judge model that takes no images: it is told where one is, and judges by what the members saw."""
    SEEN.append(len(call.request.images))
    return "A lighthouse at dusk."


async def main() -> None:
    members = {
        "claude": ScriptedMember(Answer("A lighthouse, in the evening.")),
        "gemini": ScriptedMember(Answer("A white lighthouse at dusk.")),
        "small": ScriptedMember(Answer("I see nothing.")),
        "judge": ScriptedMember(Reply(writes)),
    }
    profiles = {
        "claude": MemberProfile("claude", "api", "claude", context_tokens=200_000),
        "gemini": MemberProfile("gemini", "api", "gemini", context_tokens=1_000_000),
        "small": MemberProfile("small", "api", "small", takes_images=False, context_tokens=4096),
        "judge": MemberProfile("judge", "api", "judge", takes_images=False),
    }
    panel = ("claude", "gemini", "small")
    preset = Preset("fusion/merge", "merge", panel, judges=("judge",))
    both = replace(preset, policy=Policy(quorum=2))
    pool = Pool(members, profiles)

    picture = Request((Message("user", (TextPart("What is this?"), ImagePart("data:image/png;base64,iVBORw0="))),))
    fused = await fuse(Task(both, picture, profiles, seed=1), pool)
    for candidate in fused.candidates:
        print(candidate.member, candidate.status, candidate.failure.message if candidate.failure else "")
    assert members["small"].calls == []
    assert fused.fit is not None
    assert (fused.fit.without_images, SEEN) == (("judge",), [0])

    novel = Request((Message("user", "It was the best of times. " * 100_000),))
    fused = await fuse(Task(preset, novel, profiles, seed=1), pool)
    asked = [candidate.member for candidate in fused.candidates if candidate.failure is None]
    print("500,000 tokens are read by", asked)
    assert asked == ["gemini"]

    library = Request((Message("user", "It was the best of times. " * 1_000_000),))
    try:
        await fuse(Task(preset, library, profiles, seed=1), pool)
    except ContextExceeded as error:
        print(f"{error.code}: {error.message}")


asyncio.run(main())
