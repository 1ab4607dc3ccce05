"""What a request may cost: planned before the first call, and never exceeded after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.api.chat_response import fusion_body
from deployments.api.errors import error_body, status_of
from fusion.ballot import blind
from fusion.chat import Call, Completion, ImagePart, Message, Request, Sampling, TextPart, Usage
from fusion.errors import (
    BudgetTooSmall,
    MalformedReply,
    MemberError,
    MemberRejected,
    MemberTimeout,
    MemberUnavailable,
    PriceUnknown,
)
from fusion.judging.prompts import REFERRING, merge_request
from fusion.limits.budget import MAX_OUTPUT_TOKENS, Budget, estimate_prompt_tokens, planned_cost_usd, within_budget
from fusion.member import Emit
from fusion.presets import Criterion, Task
from fusion.pricing import Price
from fusion.results import Fused, Mode
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Behaviour, Fail, Hang, ScriptedMember
from tests.support.panels import QUESTION, Recorder, answered, favouring, fused, profile, scene

PANEL = ("dear", "fair", "cheap")
PRICES = {"dear": Price(10, 40), "fair": Price(2, 8), "cheap": Price(0.5, 1.5), "judge": Price(1, 4)}
PRICED = {name: profile(name, price=price) for name, price in PRICES.items()}
SHORT = Request(QUESTION.messages, Sampling(max_tokens=100))


def task_of(max_cost_usd: float | None, mode: Mode = "merge", *, request: Request = SHORT, **settings: object) -> Task:
    members = {name: ScriptedMember() for name in (*PANEL, "judge")}
    task, _ = scene(members, mode, profiles=PRICED, request=request, **settings)  # type: ignore[arg-type]
    policy = replace(task.preset.policy, max_cost_usd=max_cost_usd)
    return replace(task, preset=replace(task.preset, policy=policy))


# --- before the calls -------------------------------------------------------------------------------------------------


def test_without_a_budget_nothing_is_planned() -> None:
    task = task_of(None)
    assert within_budget(task) == (task, None)


def test_a_plan_is_bounded_by_its_prompts_and_the_longest_answers() -> None:
    task = task_of(None)
    prompt = estimate_prompt_tokens(SHORT)
    panel_usd = sum(prompt * PRICES[name].input_per_mtok + 100 * PRICES[name].output_per_mtok for name in PANEL)
    asked = merge_request(SHORT, blind([answered(name, "") for name in PANEL], SHORT, task.seed))
    one, none = (Request((Message("user", text),)) for text in (REFERRING, ""))
    references = estimate_prompt_tokens(one) - estimate_prompt_tokens(none)
    judge_usd = (estimate_prompt_tokens(asked) + 450 + references + 3 * (100 // 8) * 14) * 1 + 100 * 4
    assert planned_cost_usd(task, PANEL) == pytest.approx((panel_usd + judge_usd) / 1e6)
    assert planned_cost_usd(task, ("cheap",)) == pytest.approx((prompt * 0.5 + 150) / 1e6), "one is not judged"
    assert planned_cost_usd(task_of(None, "debate"), PANEL) > planned_cost_usd(task, PANEL) + panel_usd / 1e6


def test_the_dearest_leave_first_down_to_the_quorum() -> None:
    whole_usd = planned_cost_usd(task_of(None), PANEL)
    task, planned = within_budget(task_of(whole_usd))
    assert planned is not None
    assert (task.preset.panel, planned.pruned) == (PANEL, ())
    task, planned = within_budget(task_of(whole_usd * 0.99))
    assert planned is not None
    assert (task.preset.panel, planned.pruned) == (("fair", "cheap"), ("dear",))
    assert planned.planned_cost_usd <= planned.max_cost_usd
    with pytest.raises(BudgetTooSmall) as caught:
        within_budget(task_of(1e-9))
    assert caught.value.least_usd == pytest.approx(planned.planned_cost_usd)
    assert caught.value.param == "fusion.max_cost_usd"


def test_of_members_that_cost_as_much_the_least_trusted_leaves() -> None:
    alike = {name: profile(name, price=Price(1, 1)) for name in (*PANEL, "judge")}
    task = replace(task_of(None), profiles=alike)
    policy = replace(task.preset.policy, max_cost_usd=planned_cost_usd(task, PANEL) * 0.99)
    _, planned = within_budget(replace(task, preset=replace(task.preset, policy=policy)))
    assert planned is not None
    assert planned.pruned == ("cheap",)


def test_a_price_that_is_not_known_is_never_guessed() -> None:
    task = task_of(1.0)
    for missing in ("fair", "judge"):
        profiles = {**PRICED, missing: profile(missing)}
        with pytest.raises(PriceUnknown, match=missing):
            within_budget(replace(task, profiles=profiles))
    free = {**PRICED, "fair": profile("fair", price=Price(0, 0))}
    assert within_budget(replace(task, profiles=free))[1] is not None


def test_what_an_error_says_over_http() -> None:
    too_small = BudgetTooSmall("too few", param="fusion.max_cost_usd", least_usd=0.25)
    assert status_of(too_small) == 402
    body = error_body(too_small)
    assert (body["error"]["code"], body["error"]["param"]) == ("budget_too_small", "fusion.max_cost_usd")
    assert body["fusion"] == {"least_usd": 0.25}
    assert (status_of(PriceUnknown("no price")), PriceUnknown.code) == (400, "price_unknown")


COSTS = st.floats(0, 50)


@given(st.lists(st.tuples(COSTS, COSTS), min_size=4, max_size=4), st.sampled_from(["best-of", "merge", "debate"]))
def test_the_least_that_would_do_does(prices: list[tuple[float, float]], mode: Mode) -> None:
    named = zip((*PANEL, "judge"), prices, strict=True)
    task = replace(task_of(1e-12, mode), profiles={name: profile(name, price=Price(*price)) for name, price in named})
    try:
        within_budget(task)
    except BudgetTooSmall as error:
        assert error.least_usd is not None
        policy = replace(task.preset.policy, max_cost_usd=error.least_usd)
        affordable, planned = within_budget(replace(task, preset=replace(task.preset, policy=policy)))
        assert planned is not None
        assert planned.planned_cost_usd <= error.least_usd
        assert len(affordable.preset.panel) >= 2


def test_tokens_are_estimated_at_the_high_end() -> None:
    def of(text: str) -> int:
        return estimate_prompt_tokens(Request((Message("user", text),))) - 16

    assert of("hello world") == 3 + 1 + 3
    assert of("1234567890") == 10
    assert of("\N{GRINNING FACE}") == 4
    image = Request((Message("user", (TextPart("what?"), ImagePart("data:,x"))),))
    assert estimate_prompt_tokens(image) > 3000


# --- while it runs ----------------------------------------------------------------------------------------------------


class Spends:
    """A member that reads all of its prompt, and writes as much as it may, or a share of that."""

    def __init__(
        self,
        share: float = 1.0,
        delay_s: float = 0.0,
        text: str = "an answer that is its own",
        says: Behaviour | None = None,
    ) -> None:
        self.share = share
        self.scripted = ScriptedMember(says or Answer(text), delay_s=delay_s)

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        completion = await self.scripted.ask(call, emit)
        most = call.request.sampling.max_tokens
        assert most is not None, "within a budget every answer has an end"
        return replace(
            completion, usage=Usage(int(estimate_prompt_tokens(call.request) * self.share), int(most * self.share))
        )


async def spend(
    max_cost_usd: float, mode: Mode = "merge", members: Mapping[str, object] | None = None, **settings: object
) -> Fused:
    task = task_of(max_cost_usd, mode, **settings)
    everyone = {name: Spends() for name in (*PANEL, "judge")} | dict(members or {})
    _, pool = scene(everyone, mode, profiles=PRICED)  # type: ignore[arg-type]
    return await fuse(task, pool, watcher=Recorder())


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate", "auto"])
@pytest.mark.parametrize("of_plan", [1.0, 0.9, 0.6])
async def test_what_was_planned_is_never_exceeded(mode: Mode, of_plan: float) -> None:
    whole_usd = planned_cost_usd(task_of(None, mode), PANEL)
    least_usd = planned_cost_usd(task_of(None, mode), ("fair", "cheap"))
    budget_usd = max(whole_usd * of_plan, least_usd)
    result = await spend(budget_usd, mode)
    assert result.cost_usd is not None
    assert result.cost_usd <= budget_usd
    assert result.budget is not None
    assert result.cost_usd <= result.budget.planned_cost_usd * 1.001
    assert result.completion.text
    assert fusion_body(result, "p", [])["budget"]["pruned"] == result.budget.pruned


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["merge", "debate"]))
async def test_whatever_members_use_within_their_bounds_it_holds(one: float, other: float, mode: Mode) -> None:
    least_usd = planned_cost_usd(task_of(None, mode), ("fair", "cheap"))
    result = await spend(least_usd, mode, {"fair": Spends(one), "cheap": Spends(other)})
    assert result.cost_usd is not None
    assert result.cost_usd <= least_usd


JUDGING: list[tuple[Mode, dict[str, object], set[str], int]] = [
    ("best-of", {"both_orders": True}, {"panel", "judge"}, 2),
    ("best-of", {"both_orders": True, "jury": True, "judges": ("judge", "other")}, {"panel", "judge"}, 4),
    ("best-of", {"rubric": (Criterion("correct", 2, "what is said is so"), Criterion("brief"))}, {"panel", "judge"}, 1),
    ("best-of", {"analysis": "beside", "awaits_analysis": True}, {"panel", "analysis", "judge"}, 2),
    ("merge", {"analysis": "before"}, {"panel", "analysis", "judge"}, 2),
    ("merge", {"no_harm": True, "both_orders": True}, {"panel", "write", "judge", "no_harm"}, 5),
]


@pytest.mark.parametrize(("mode", "settings", "stages", "calls"), JUDGING)
async def test_every_kind_of_call_is_planned_for(
    mode: Mode, settings: dict[str, object], stages: set[str], calls: int
) -> None:
    """With as much as was planned every call is made, and none costs more; with less it is refused."""
    profiles = {**PRICED, "other": profile("other", price=Price(3, 9))}
    judges = settings.get("judges", ("judge",))
    members: dict[str, Any] = {name: Spends(says=Answer(f"I am {name}")) for name in PANEL}
    members |= {name: Spends(says=favouring("I am fair")) for name in judges}  # type: ignore[attr-defined]
    task, pool = scene(members, mode, profiles=profiles, request=SHORT, quorum=3, **settings)  # type: ignore[arg-type]
    planned_usd = planned_cost_usd(task, PANEL)

    async def within(max_cost_usd: float) -> Fused:
        policy = replace(task.preset.policy, max_cost_usd=max_cost_usd)
        return await fuse(replace(task, preset=replace(task.preset, policy=policy)), pool)

    result = await within(planned_usd)
    assert {spent.stage for spent in result.stages} == stages
    assert sum(spent.calls for spent in result.stages) == len(PANEL) + calls
    assert result.cost_usd is not None
    assert planned_usd / 4 < result.cost_usd <= planned_usd
    with pytest.raises(BudgetTooSmall):
        await within(planned_usd * 0.99)


async def test_an_answer_without_a_bound_gets_one_and_a_members_own_is_kept() -> None:
    own = {**PRICED, "cheap": replace(PRICED["cheap"], sampling=Sampling(max_tokens=7))}
    members = {name: ScriptedMember(Answer(name)) for name in (*PANEL, "judge")}
    task, pool = scene(members, "merge", profiles=own, quorum=3)
    policy = replace(task.preset.policy, max_cost_usd=100.0)
    await fuse(replace(task, preset=replace(task.preset, policy=policy)), pool)
    most = [member.calls[0].request.sampling.max_tokens for member in members.values()]
    assert most == [MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS, 7, MAX_OUTPUT_TOKENS]


@pytest.mark.parametrize(
    ("outcome", "cost_usd", "spent"),
    [
        (None, None, 1.0),  # cancelled
        (MemberTimeout("late"), None, 1.0),
        (MalformedReply("cut off"), None, 1.0),
        (Completion("four"), None, 1.0),
        (Completion("four"), 0.25, 0.25),
        (MalformedReply("cut off"), 0.5, 0.5),
        (MemberUnavailable("refused"), None, 0.0),
        (MemberRejected("too long"), None, 0.0),
    ],
)
def test_a_call_that_may_have_been_paid_for_counts_as_much_as_it_can_cost(
    outcome: Completion | MemberError | None, cost_usd: float | None, spent: float
) -> None:
    budget = Budget(1.5, {"ada": profile("ada", price=Price(0, 1e4))})
    call = budget.bounded(Call("ada", SHORT, 10.0))
    bound_usd = budget.reserve(call)
    assert bound_usd == pytest.approx(1.0)
    assert budget.reserve(call) is None, "what is under way is set aside at its most"
    budget.settle(bound_usd, outcome, cost_usd)
    assert (budget.spent_usd, budget.under_way_usd) == (pytest.approx(spent), pytest.approx(0))
    assert (budget.reserve(call) is None) == (spent > 0.5)


async def test_stragglers_that_are_cancelled_count_too() -> None:
    """What they cost is not known, and a rebuttal is not made with money that may be gone."""
    budget_usd = planned_cost_usd(task_of(None, "debate", rounds=1), PANEL)
    members = {"dear": ScriptedMember(Hang()), "fair": Spends(text="four"), "cheap": Spends(text="five")}
    result = await spend(budget_usd, "debate", members)
    assert result.cost_usd is not None
    dear_usd = planned_cost_usd(task_of(None), ("dear",))
    assert result.cost_usd <= budget_usd - dear_usd


async def test_a_judge_that_is_not_paid_for_any_more_is_not_asked() -> None:
    class Overshoots(Spends):
        async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
            completion = await super().ask(call, emit)
            assert completion.usage is not None
            return replace(completion, usage=Usage(completion.usage.input_tokens * 40, completion.usage.output_tokens))

    judge = Spends()
    least_usd = planned_cost_usd(task_of(None), ("fair", "cheap"))
    members = {
        "fair": Overshoots(delay_s=1.0, text="four"),
        "cheap": Overshoots(delay_s=1.0, text="five"),
        "judge": judge,
    }
    result = await spend(least_usd, members=members, quorum=2)
    assert judge.scripted.calls == []
    assert result.degraded == "judge_failed: judge (over_budget); the answer is fair's"
    assert result.completion.text == "four"


async def test_a_call_that_was_refused_costs_nothing() -> None:
    least_usd = planned_cost_usd(task_of(None), ("fair", "cheap"))
    members = {"fair": Spends(text="four"), "cheap": ScriptedMember(Fail(MemberUnavailable("refused")))}
    result = await spend(least_usd, members=members, quorum=1)
    assert result.degraded == "single_candidate: fair"
    assert result.cost_usd is not None


async def test_without_a_budget_no_bound_is_put_on_answers() -> None:
    members = {name: ScriptedMember(Answer(name)) for name in (*PANEL, "judge")}
    result = await fused(members, "merge")
    assert result.budget is None
    assert members["dear"].calls[0].request.sampling.max_tokens is None
