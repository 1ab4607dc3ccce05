"""A budget is kept by planning: the dearest members are left out until the rest is paid for, whatever they write."""

import asyncio
from dataclasses import replace

from fusion import MemberProfile, Message, Policy, Pool, Preset, Request, Sampling, Task, fuse
from fusion.errors import BudgetTooSmall
from fusion.pricing import Price
from fusion.testing import Answer, ScriptedMember

PRICES = {"frontier": Price(15, 75), "mid": Price(3, 15), "small": Price(0.5, 1.5), "judge": Price(3, 15)}


async def main() -> None:
    members = {name: ScriptedMember(Answer(f"{name} thinks so.")) for name in PRICES}
    profiles = {name: MemberProfile(name, name, name, price=price) for name, price in PRICES.items()}
    panel = ("frontier", "mid", "small")
    preset = Preset("fusion/merge", "merge", panel, ("judge",), Policy(max_cost_usd=0.03))
    request = Request((Message("user", "Is the contract void?"),), Sampling(max_tokens=400))
    pool = Pool(members, profiles)

    fused = await fuse(Task(preset, request, profiles, seed=1), pool)
    print(fused.budget, fused.cost_usd)
    assert fused.budget is not None
    assert fused.budget.pruned == ("frontier",)
    assert fused.cost_usd is not None
    assert fused.cost_usd <= fused.budget.planned_cost_usd <= 0.03

    poor = replace(preset, policy=Policy(max_cost_usd=0.001))
    try:
        await fuse(Task(poor, request, profiles, seed=1), pool)
    except BudgetTooSmall as error:
        refused = error
    print(f"{refused.code}: {refused.message}")
    assert refused.least_usd is not None
    assert 0.001 < refused.least_usd < 0.03


asyncio.run(main())
