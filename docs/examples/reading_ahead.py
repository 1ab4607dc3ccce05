"""A judge model on an engine of our own reads the first candidates while the last one is still being written."""

import asyncio

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Task, fuse
from fusion.testing import Answer, ScriptedMember


async def main() -> None:
    members = {
        "mixtral": ScriptedMember(Answer("It is four."), delay_s=0.01),
        "claude": ScriptedMember(Answer("Four, I think."), delay_s=0.01),
        "slow": ScriptedMember(Answer("4, said slowly."), delay_s=0.05),
        "judge": ScriptedMember(Answer("It is four.")),
    }
    engine = ScriptedMember(Answer("It"))
    profiles = {name: MemberProfile(name, backend=name, model=name) for name in members}
    policy = Policy(quorum=2).with_grace(1e6)
    preset = Preset("fusion/merge", "merge", ("mixtral", "claude", "slow"), ("judge",), policy)
    request = Request((Message("user", "What is two and two?"),))

    # Who is in `prefilling` keeps what it has read: members of a vLLM backend, when a cluster is built.
    pool = Pool(members, profiles, prefilling={"judge": engine})
    fused = await fuse(Task(preset, request, profiles, seed=1), pool)

    [ahead], [asked] = engine.calls, members["judge"].calls
    shown, whole = (call.request.messages[-1].text for call in (ahead, asked))
    print(f"{len(shown)} of the {len(whole)} characters that the judge model is asked about were read ahead")
    print([(spent.stage, spent.calls, spent.usage.input_tokens) for spent in fused.stages])
    assert whole.startswith(shown)
    assert ahead.request.sampling.max_tokens == 1
    assert "prefill" in {spent.stage for spent in fused.stages}


asyncio.run(main())
