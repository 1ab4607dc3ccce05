"""A straggler ten times slower than the rest: what it does to the fused p50, with an adaptive grace and a fixed one."""

from __future__ import annotations

import asyncio
from statistics import median

from fusion.limits.call_stats import CallStats
from fusion.member import MemberProfile
from fusion.presets import Policy
from fusion.testing import Answer, ScriptedMember
from tests.benchmarks.fusing.figures import Figure, figure
from tests.benchmarks.fusing.panels import task_of, timed

DELAYS_S = {"ada": 0.03, "bob": 0.04, "cyd": 0.04, "judge": 0.03}
SLOW_S = 0.4
SAYS = {"ada": "It is four.", "bob": "Perhaps it is five.", "cyd": "Six?", "judge": "It is four."}
PANEL = ("ada", "bob", "cyd")


async def _interleaved_ms(policy: Policy, runs: int) -> dict[bool, list[float]]:
    """Fused requests without the straggler and with it, in turn, so that a busy machine slows both. Each kind has a
    replica's own statistics, which learns from the first request on."""
    profiles = {name: MemberProfile(name, name, name) for name in DELAYS_S}
    call_stats = {False: CallStats(), True: CallStats()}
    took_ms: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(runs):
        for slow, took in took_ms.items():
            delays_s = {**DELAYS_S, "cyd": SLOW_S if slow else DELAYS_S["cyd"]}
            members = {name: ScriptedMember(Answer(SAYS[name]), delay_s=delay) for name, delay in delays_s.items()}
            task = task_of("What is two and two?", PANEL, profiles, seed, policy=policy)
            _, ms = await timed(task, members, call_stats[slow])
            took.append(ms)
    return took_ms


async def straggling(runs: int = 60) -> list[Figure]:
    figures: list[Figure] = []
    for name, policy in (("adaptive", Policy()), ("fixed 1.0", Policy().with_grace(1.0))):
        took_ms = await _interleaved_ms(policy, runs)
        moved = median(took_ms[True]) / median(took_ms[False]) - 1
        must, holds = ("moved by less than 10%", moved < 0.10) if name == "adaptive" else ("for comparison", True)
        label = f"p50 with a straggler ten times slower, {name} grace"
        figures.append(figure(label, "ms", took_ms[False], took_ms[True], must, holds))
    return figures


if __name__ == "__main__":
    print(asyncio.run(straggling()))  # noqa: T201
