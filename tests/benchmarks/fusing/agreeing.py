"""Agreeing panels: how long they take, and how many calls, with agreement and without."""

from __future__ import annotations

import asyncio
from statistics import median

from fusion.member import MemberProfile
from fusion.presets import AgreementPolicy
from fusion.testing import Answer, ScriptedMember
from tests.benchmarks.fusing.figures import Figure, figure
from tests.benchmarks.fusing.panels import task_of, timed

DELAYS_S = {"ada": 0.02, "bob": 0.04, "cyd": 0.08, "judge": 0.04}
SAYS = {"ada": "The answer is 1,000.", "bob": "1000", "cyd": "1000.0", "judge": "1000"}
PANEL = ("ada", "bob", "cyd")


async def agreeing(runs: int = 40) -> list[Figure]:
    profiles = {name: MemberProfile(name, name, name) for name in DELAYS_S}
    took_ms: dict[bool, list[float]] = {False: [], True: []}
    calls: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(runs):
        for on in took_ms:
            members = {name: ScriptedMember(Answer(SAYS[name]), delay_s=delay) for name, delay in DELAYS_S.items()}
            task = task_of("What is 10 cubed?", PANEL, profiles, seed, agreement=AgreementPolicy(short=on))
            fused, ms = await timed(task, members, None)
            assert (fused.judge is None) == on
            took_ms[on].append(ms)
            calls[on].append(sum(len(member.calls) for member in members.values()))
    faster = median(took_ms[True]) < median(took_ms[False])
    no_extra = all(count == len(PANEL) for count in calls[True])
    return [
        figure("agreeing panel, to the answer", "ms", took_ms[False], took_ms[True], "less", faster),
        figure("agreeing panel, calls", "calls", calls[False], calls[True], "the panel's alone", no_extra),
    ]


if __name__ == "__main__":
    print(asyncio.run(agreeing()))  # noqa: T201
