"""What a request has used, stage by stage."""

from __future__ import annotations

import pytest

from fusion.chat import Usage
from fusion.errors import MalformedReply
from fusion.pricing import Price
from fusion.results import Spent
from fusion.runtime.accounting import Ledger
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import fused, profile


def test_calls_add_up_by_stage_in_the_order_in_which_stages_began() -> None:
    ledger = Ledger()
    ledger.charge("panel", Usage(10, 5), 0.25)
    ledger.charge("judge", Usage(30, 2), 0.5)
    ledger.charge("panel", Usage(1, 1), 0.125)
    assert ledger.stages == (Spent("panel", 2, Usage(11, 6), 0.375), Spent("judge", 1, Usage(30, 2), 0.5))
    assert (ledger.usage, ledger.cost_usd) == (Usage(41, 8), 0.875)


def test_one_unknown_cost_makes_its_stages_and_the_whole_unknown_but_not_the_others() -> None:
    ledger = Ledger()
    ledger.charge("panel", None, None)
    ledger.charge("panel", Usage(1, 1), 0.125)
    ledger.charge("judge", Usage(2, 2), 0.5)
    assert [(spent.calls, spent.cost_usd) for spent in ledger.stages] == [(2, None), (1, 0.5)]
    assert (ledger.usage, ledger.cost_usd) == (Usage(3, 3), None)


def test_nothing_used_costs_nothing() -> None:
    assert (Ledger().usage, Ledger().cost_usd, Ledger().stages) == (Usage(), 0, ())


async def test_every_stage_of_a_debate_is_told_apart() -> None:
    cut_off = MalformedReply("the stream broke off")
    cut_off.usage = Usage(40, 1)
    members = {
        "ada": ScriptedMember(Answer("four", usage=Usage(100, 20))),
        "bob": ScriptedMember(Answer("five", usage=Usage(200, 30)), Fail(cut_off)),
        "judge": ScriptedMember(Answer("It is four.", usage=Usage(900, 9))),
    }
    priced = {name: profile(name, price=Price(1.0, 2.0)) for name in members}
    result = await fused(members, "debate", quorum=2, profiles=priced)
    assert [(spent.stage, spent.calls, spent.usage) for spent in result.stages] == [
        ("panel", 2, Usage(300, 50)),
        ("rebuttal", 2, Usage(140, 21)),
        ("judge", 1, Usage(900, 9)),
    ]
    assert [spent.cost_usd for spent in result.stages] == pytest.approx([400e-6, 182e-6, 918e-6])
    assert result.cost_usd == pytest.approx(1500e-6)
