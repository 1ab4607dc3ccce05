"""A straggler ten times slower than the rest: what it does to the fused p50, with an adaptive grace and a fixed one."""

from __future__ import annotations

import asyncio
from statistics import median

from fusion.experience import Experience
from fusion.member import MemberProfile
from fusion.preset import Policy
from fusion.testing import Answer, ScriptedMember
from tests.benchmarks.fusing.figures import Figure, figure
from tests.benchmarks.fusing.panels import task_of, timed

DELAYS_S = {"ada": 0.03, "bob": 0.04, "cyd": 0.04, "judge": 0.03}
SLOW_S = 0.4
SAYS = {"ada": "It is four.", "bob": "Perhaps it is five.", "cyd": "Six?", "judge": "It is four."}
PANEL = ("ada", "bob", "cyd")


async def _took_ms(policy: Policy, slow: bool, runs: int) -> list[float]:
    """Fused requests, one after the other, of one replica that learns from the first on."""
    profiles = {name: MemberProfile(name, name, name) for name in DELAYS_S}
    delays_s = {**DELAYS_S, "cyd": SLOW_S if slow else DELAYS_S["cyd"]}
    experience = Experience()
    took: list[float] = []
    for seed in range(runs):
        members = {name: ScriptedMember(Answer(SAYS[name]), delay_s=delay) for name, delay in delays_s.items()}
        _, ms = await timed(task_of("What is two and two?", PANEL, profiles, seed, policy=policy), members, experience)
        took.append(ms)
    return took


async def straggling(runs: int = 60) -> list[Figure]:
    figures: list[Figure] = []
    for name, policy in (("adaptive", Policy()), ("fixed 1.0", Policy().with_grace(1.0))):
        alike = await _took_ms(policy, False, runs)
        slow = await _took_ms(policy, True, runs)
        moved = median(slow) / median(alike) - 1
        must, holds = ("moved by less than 10%", moved < 0.10) if name == "adaptive" else ("for comparison", True)
        figures.append(figure(f"p50 with a straggler ten times slower, {name} grace", "ms", alike, slow, must, holds))
    return figures


if __name__ == "__main__":
    print(asyncio.run(straggling()))  # noqa: T201
