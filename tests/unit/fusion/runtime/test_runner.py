"""What the runner makes of members that do as they should, and of those that do not."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import pytest

from fusion.chat import Call, Completion, Delta, Usage
from fusion.errors import (
    MalformedReply,
    MemberRejected,
    MemberUnavailable,
    NoQuorum,
)
from fusion.member import Emit
from fusion.pricing import Price
from fusion.results import Failure
from fusion.runtime.member_calls import LOSERS_WAIT_S, cancelled_itself
from fusion.runtime.runner import JUDGE_RESERVE, fuse
from fusion.testing import Answer, Behaviour, CutOff, Fail, Hang, IgnoreCancellation, Reply, Rubbish, ScriptedMember
from tests.support.panels import Recorder, favouring, fused, profile, scene
from tests.support.virtual_clock import VirtualClockLoop

GOOD = Answer("four")


class CancelsItself:
    """A member whose task is cancelled from inside, as a leaking cancel scope does it."""

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError("unreachable")


@dataclass
class SpeaksAfterItsEnd:
    """A member that ignores its cancellation and goes on writing."""

    after_s: float
    words: str = "too late"

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(self.after_s)
        if emit:
            emit(Delta(self.words))
        return Completion(self.words)


def now() -> float:
    return asyncio.get_running_loop().time()


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


# --- one member failing in some way never fails the request -----------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Fail(MemberUnavailable("refused")), "unavailable"),
        (Fail(MemberRejected("too long")), "rejected"),
        (Fail(RuntimeError("outside of the tree")), "unavailable"),
        (Fail(TimeoutError()), "unavailable"),
        (Fail(KeyError("x")), "unavailable"),
        (Fail(asyncio.CancelledError()), "unavailable"),
        (Rubbish(), "malformed_reply"),
        (Rubbish("four"), "malformed_reply"),
        (Rubbish(Rubbish(None)), "malformed_reply"),
        (Rubbish(Completion(None)), "unavailable"),
        (Answer(""), "empty_completion"),
        (Answer(" \n\t "), "empty_completion"),
        (CutOff(["fo"]), "malformed_reply"),
    ],
    ids=repr,
)
async def test_a_member_that_fails_is_reported_and_the_others_answer(behaviour: Behaviour, code: str) -> None:
    ada = ScriptedMember(behaviour)
    result = await fused(
        {
            "ada": ada,
            "bob": ScriptedMember(GOOD),
            "cyd": ScriptedMember(GOOD),
            "judge": ScriptedMember(favouring("four")),
        },
        watcher=Recorder(watches_candidates=True),
    )
    assert result.completion.text == "four"
    assert result.degraded is None
    failed = result.candidates[0]
    assert (failed.member, failed.status, failed.completion) == ("ada", "failed", None)
    assert failed.failure is not None
    assert failed.failure.code == code
    assert ada.running == 0


async def test_a_member_that_cancels_its_own_task_has_failed() -> None:
    result = await fused({"ada": CancelsItself(), "bob": ScriptedMember(GOOD)}, quorum=1)
    assert [candidate.status for candidate in result.candidates] == ["failed", "answered"]
    assert result.candidates[0].failure == cancelled_itself()
    assert result.completion.text == "four"


async def test_a_judge_that_cancels_its_own_task_gives_way() -> None:
    members = {"ada": ScriptedMember(GOOD), "bob": ScriptedMember(Answer("five"))}
    result = await fused(
        {**members, "judge": CancelsItself(), "deputy": ScriptedMember(favouring("five"))},
        judges=("judge", "deputy"),
        quorum=2,
    )
    assert result.judge == "deputy"
    assert result.completion.text == "five"


async def test_an_error_outside_of_the_tree_is_logged_by_its_type_and_its_message_stays_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = RuntimeError("the whole secret prompt")
    result = await fused({"ada": ScriptedMember(Fail(original)), "bob": ScriptedMember(GOOD)})
    assert result.candidates[0].failure == MemberUnavailable("unexpected RuntimeError").as_failure()
    assert "secret" not in f"{result}{caplog.text}"
    assert "RuntimeError" in caplog.text


async def test_a_member_that_is_not_in_the_pool_has_failed() -> None:
    task, pool = scene({"ada": ScriptedMember(GOOD), "bob": ScriptedMember(GOOD)})
    del pool.members["ada"]
    result = await fuse(task, pool)
    assert [candidate.status for candidate in result.candidates] == ["failed", "answered"]


# --- stragglers, losers and the deadline ------------------------------------------------------------------------------


async def test_a_member_that_hangs_is_cancelled_after_the_grace() -> None:
    began_at = now()
    hangs = ScriptedMember(Hang())
    result = await fused(
        {
            "ada": ScriptedMember(GOOD, delay_s=2),
            "bob": hangs,
            "cyd": ScriptedMember(GOOD, delay_s=4),
            "judge": ScriptedMember(favouring("four"), delay_s=1),
        },
        grace=0.5,
    )
    assert (hangs.running, hangs.cancelled) == (0, 1)
    assert [candidate.status for candidate in result.candidates] == ["answered", "cancelled", "answered"]
    assert [candidate.latency_ms for candidate in result.candidates] == pytest.approx([2000, 6000, 4000])
    assert now() - began_at == pytest.approx(7)
    assert result.timings.panel_ms == pytest.approx(6000)
    assert result.timings.judge_ms == pytest.approx(1000)
    assert result.timings.total_ms == pytest.approx(7000)
    assert result.overhead_vs_slowest_member == pytest.approx(7 / 4 - 1)
    assert others() == set()


async def test_stragglers_cannot_use_up_the_judges_time() -> None:
    result = await fused(
        {
            "ada": ScriptedMember(GOOD, delay_s=30),
            "bob": ScriptedMember(Hang()),
            "judge": ScriptedMember(favouring("four"), delay_s=1),
        },
        grace=9.0,
        deadline_s=60,
    )
    assert result.timings.panel_ms == pytest.approx(60e3 * (1 - JUDGE_RESERVE))


async def test_a_straggler_that_answers_within_the_grace_counts() -> None:
    result = await fused(
        {
            "ada": ScriptedMember(Answer("five"), delay_s=2),
            "bob": ScriptedMember(GOOD, delay_s=2.5),
            "judge": ScriptedMember(favouring("four")),
        },
    )
    assert result.completion.text == "four"
    assert [candidate.status for candidate in result.candidates] == ["answered", "answered"]


async def test_a_member_that_ignores_cancellation_does_not_hold_up_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began_at = now()
    stubborn = ScriptedMember(IgnoreCancellation(300))
    with caplog.at_level(logging.WARNING):
        result = await fused({"ada": ScriptedMember(GOOD, delay_s=2), "bob": stubborn}, deadline_s=60)
    assert now() - began_at == pytest.approx(3 + LOSERS_WAIT_S)
    assert result.timings.total_ms == pytest.approx((3 + LOSERS_WAIT_S) * 1e3)
    assert result.completion.text == "four"
    assert "still running" in caplog.text
    assert stubborn.running == 1
    await asyncio.gather(*others())
    assert stubborn.running == 0


async def test_losers_end_while_the_judge_is_at_work() -> None:
    stubborn = ScriptedMember(IgnoreCancellation(5))
    result = await fused(
        {
            "ada": ScriptedMember(GOOD, delay_s=2),
            "bob": ScriptedMember(GOOD, delay_s=2),
            "cyd": stubborn,
            "judge": ScriptedMember(favouring("four"), delay_s=3),
        }
    )
    assert stubborn.running == 0
    assert result.timings.total_ms == pytest.approx(6000)


async def test_what_a_member_writes_after_it_was_cancelled_is_not_reported() -> None:
    watcher = Recorder(watches_candidates=True)
    result = await fused({"ada": ScriptedMember(GOOD, delay_s=1), "bob": SpeaksAfterItsEnd(0.2)}, watcher=watcher)
    assert result.candidates[1].status == "cancelled"
    assert not [line for line in watcher.story if line.startswith("bob writes")]


@dataclass
class BlocksTheLoop:
    """A member that stalls everything just before it answers."""

    delay_s: float
    stalls_s: float

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        await asyncio.sleep(self.delay_s)
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        loop.stall(self.stalls_s)
        return Completion("four")


async def test_answers_are_taken_in_the_order_of_time_not_of_trust() -> None:
    """Both are found when the loop comes back; the one that came first decides how long the grace is."""
    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(2, gate.set)
    bob = ScriptedMember(GOOD, gate=gate)
    result = await fused(
        {"ada": BlocksTheLoop(2, stalls_s=2), "bob": bob, "cyd": ScriptedMember(Hang())}, quorum=1, grace=1.5, judges=()
    )
    assert [candidate.latency_ms for candidate in result.candidates] == pytest.approx([4000, 2000, 5000])


async def test_no_judge_is_asked_after_the_deadline() -> None:
    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(2, gate.set)
    judge = ScriptedMember(favouring("five"))
    members = {"ada": ScriptedMember(GOOD, gate=gate), "bob": ScriptedMember(Answer("five"), gate=gate)}
    blocks = BlocksTheLoop(2, stalls_s=9)
    result = await fused({**members, "cyd": blocks, "judge": judge}, quorum=2, grace=1.0, deadline_s=10)
    assert result.completion.text == "four"
    assert result.degraded == "judge_failed: judge (timeout); the answer is ada's"
    assert (judge.calls, result.timings.judge_ms) == ([], None)


async def test_an_answer_from_before_the_deadline_counts_though_the_loop_came_back_after_it() -> None:
    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(2, gate.set)
    bob = ScriptedMember(GOOD, gate=gate)
    result = await fused({"ada": BlocksTheLoop(2, stalls_s=9), "bob": bob}, quorum=1, deadline_s=10)
    assert [candidate.status for candidate in result.candidates] == ["cancelled", "answered"]


async def test_what_is_left_of_the_deadline_is_passed_down() -> None:
    ada, judge, deputy = ScriptedMember(GOOD, delay_s=10), ScriptedMember(Hang()), ScriptedMember(favouring("four"))
    loop = asyncio.get_running_loop()
    task, pool = scene(
        {"ada": ada, "bob": ScriptedMember(GOOD), "judge": judge, "deputy": deputy},
        judges=("judge", "deputy"),
        quorum=2,
        deadline_s=60,
    )
    result = await fuse(task, pool, started_at=loop.time() - 20)
    assert ada.calls[0].timeout_s == pytest.approx(40)
    assert judge.calls[0].timeout_s == pytest.approx(15)
    assert deputy.calls[0].timeout_s == pytest.approx(15)
    assert (ada.calls[0].purpose, judge.calls[0].purpose) == ("answer", "judge")
    assert (ada.calls[0].member, deputy.calls[0].member) == ("ada", "deputy")
    assert result.timings.total_ms == pytest.approx(45e3)


async def test_a_request_that_arrives_after_its_deadline_asks_nobody() -> None:
    ada = ScriptedMember(GOOD)
    task, pool = scene({"ada": ada, "bob": ScriptedMember(GOOD)}, deadline_s=5)
    with pytest.raises(NoQuorum) as caught:
        await fuse(task, pool, started_at=now() - 6)
    assert caught.value.timed_out
    assert ada.calls == []
    assert [candidate.latency_ms for candidate in caught.value.candidates] == [0.0, 0.0]


# --- no quorum --------------------------------------------------------------------------------------------------------


async def test_no_quorum_by_failures_is_known_at_once() -> None:
    began_at = now()
    slow = ScriptedMember(GOOD, delay_s=50)
    with pytest.raises(NoQuorum) as caught:
        await fused(
            {"ada": ScriptedMember(Fail(MemberUnavailable("refused"))), "bob": ScriptedMember(Answer("")), "cyd": slow}
        )
    assert now() == pytest.approx(began_at)
    assert not caught.value.timed_out
    assert [(outcome.member, outcome.status) for outcome in caught.value.candidates] == [
        ("ada", "failed"),
        ("bob", "failed"),
        ("cyd", "cancelled"),
    ]
    assert [outcome.failure and outcome.failure.code for outcome in caught.value.candidates] == [
        "unavailable",
        "empty_completion",
        None,
    ]
    assert "0 of the 2" in caught.value.message
    assert slow.running == 0


async def test_no_quorum_at_the_deadline_says_so_and_holds_every_outcome() -> None:
    began_at = now()
    hang = ScriptedMember(Hang())
    with pytest.raises(NoQuorum) as caught:
        await fused({"ada": ScriptedMember(GOOD, delay_s=1), "bob": hang, "cyd": ScriptedMember(Hang())}, deadline_s=30)
    assert now() - began_at == pytest.approx(30)
    assert caught.value.timed_out
    assert [outcome.status for outcome in caught.value.candidates] == ["answered", "cancelled", "cancelled"]
    assert (hang.running, hang.cancelled) == (0, 1)
    assert others() == set()


# --- the caller goes away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["best-of", "merge", "debate"])
@pytest.mark.parametrize("after_s", [0.0, 1.0, 3.5, 5.5])
async def test_cancelling_the_request_cancels_everything_and_leaves_nothing(mode: str, after_s: float) -> None:
    members = {
        "ada": ScriptedMember(Answer("four"), delay_s=2),
        "bob": ScriptedMember(Answer("five"), delay_s=3),
        "judge": ScriptedMember(Hang()),
    }
    task, pool = scene(members, mode, quorum=2)
    request = asyncio.create_task(fuse(task, pool, watcher=Recorder(watches_candidates=True)))
    await asyncio.sleep(after_s)
    began_at = now()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert now() == began_at
    assert [member.running for member in members.values()] == [0, 0, 0]
    assert others() == set()
    asked = sum(len(member.calls) for member in members.values())
    assert after_s == 0 or asked


async def test_cancelling_the_request_is_bounded_by_a_member_that_ignores_it() -> None:
    task, pool = scene({"ada": ScriptedMember(IgnoreCancellation(300)), "bob": ScriptedMember(Hang())})
    request = asyncio.create_task(fuse(task, pool))
    await asyncio.sleep(1)
    began_at = now()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert now() - began_at == pytest.approx(LOSERS_WAIT_S)
    await asyncio.gather(*others())


async def test_cancelling_twice_still_ends_everything() -> None:
    task, pool = scene({"ada": ScriptedMember(IgnoreCancellation(3)), "bob": ScriptedMember(Hang())})
    request = asyncio.create_task(fuse(task, pool))
    await asyncio.sleep(1)
    request.cancel()
    await asyncio.sleep(0.1)
    began_at = now()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert now() == began_at
    await asyncio.gather(*others())


# --- what is told while it runs ---------------------------------------------------------------------------------------


async def test_progress_is_told_in_order() -> None:
    watcher = Recorder()
    await fused(
        {
            "ada": ScriptedMember(Answer("four"), delay_s=2),
            "bob": ScriptedMember(Fail(MalformedReply("not JSON")), delay_s=1),
            "cyd": ScriptedMember(Answer("five"), delay_s=2.5),
            "dot": ScriptedMember(Hang()),
            "judge": ScriptedMember(Answer("no idea")),
            "deputy": ScriptedMember(favouring("four")),
        },
        judges=("judge", "deputy"),
        watcher=watcher,
    )
    assert watcher.story == [
        "round 0 asks ada bob cyd dot",
        "bob failed in round 0",
        "ada answered in round 0",
        "cyd answered in round 0",
        "dot cancelled in round 0",
        "judge is asked",
        "deputy is asked",
        "answer 'four'",
    ]


async def test_candidates_are_told_as_they_grow_to_who_watches_them() -> None:
    gate = asyncio.Event()
    watcher = Recorder(watches_candidates=True)
    members = {
        "ada": ScriptedMember(Answer("it is four", piece_delay_s=1)),
        "bob": ScriptedMember(Answer("five"), gate=gate),
        "judge": ScriptedMember(favouring("four")),
    }
    task, pool = scene(members, quorum=2)
    request = asyncio.create_task(fuse(task, pool, watcher=watcher))
    await asyncio.sleep(1.5)
    assert watcher.story == ["round 0 asks ada bob", "ada writes 'it' in round 0", "ada writes ' is' in round 0"]
    gate.set()
    await request
    assert watcher.story[3:] == [
        "bob writes 'five' in round 0",
        "bob answered in round 0",
        "ada writes ' four' in round 0",
        "ada answered in round 0",
        "judge is asked",
        "answer 'it is four'",
    ]


# --- numbers ----------------------------------------------------------------------------------------------------------

PRICE = Price(1.0, 2.0)
PRICED = {name: profile(name, price=PRICE) for name in ("ada", "bob", "judge")}


def priced_members(ada: Usage | None, judge: Answer | Reply) -> dict[str, ScriptedMember]:
    return {
        "ada": ScriptedMember(Answer("four", usage=ada)),
        "bob": ScriptedMember(Answer("five", usage=Usage(200, 30))),
        "judge": ScriptedMember(judge),
    }


async def test_usage_and_cost_are_the_sum_over_every_call() -> None:
    result = await fused(priced_members(Usage(100, 20), favouring("four")), quorum=2, profiles=PRICED)
    assert result.usage == Usage(100 + 200 + 10, 20 + 30 + 5)
    assert result.cost_usd == pytest.approx((310 * 1.0 + 55 * 2.0) / 1e6)
    assert [candidate.cost_usd for candidate in result.candidates] == pytest.approx([140e-6, 260e-6])


async def test_an_invalid_verdict_was_paid_for_too() -> None:
    result = await fused(priced_members(Usage(100, 20), Answer("hm", usage=Usage(7, 3))), quorum=2, profiles=PRICED)
    assert result.judge is None
    assert result.usage == Usage(307, 53)
    assert result.cost_usd == pytest.approx((307 + 2 * 53) / 1e6)


async def test_what_a_failed_call_used_was_paid_for_too() -> None:
    cut_off = MalformedReply("the stream broke off")
    cut_off.usage = Usage(40, 5)
    members = {
        "ada": ScriptedMember(Answer("four", usage=Usage(100, 20)), delay_s=1.0),
        "judge": ScriptedMember(favouring("four")),
    }
    members |= {"bob": ScriptedMember(Fail(cut_off)), "cyd": ScriptedMember(Answer(" ", usage=Usage(60, 0)))}
    members |= {"dan": ScriptedMember(Fail(MemberUnavailable("refused")))}
    result = await fused(members, quorum=1, profiles={**PRICED, "cyd": profile("cyd", price=PRICE)})
    outcomes = {candidate.member: candidate for candidate in result.candidates}
    assert {name: outcome.usage for name, outcome in outcomes.items()} == {
        "ada": Usage(100, 20),
        "bob": Usage(40, 5),
        "cyd": Usage(60, 0),
        "dan": None,
    }
    assert outcomes["bob"].cost_usd == pytest.approx(50e-6)
    assert outcomes["cyd"].cost_usd == pytest.approx(60e-6)
    assert outcomes["dan"].cost_usd is None
    assert result.cost_usd == pytest.approx((140 + 50 + 60) / 1e6)


async def test_the_cost_is_unknown_when_an_answered_calls_usage_is() -> None:
    result = await fused(priced_members(None, favouring("four")), quorum=2, profiles=PRICED)
    assert result.usage == Usage(210, 35)
    assert result.cost_usd is None
    assert [candidate.cost_usd for candidate in result.candidates] == [None, pytest.approx(260e-6)]


async def test_the_cost_is_unknown_when_the_judges_usage_is() -> None:
    verdict = Answer('{"scores": {"A": 1, "B": 2}}', usage=None)
    result = await fused(priced_members(Usage(100, 20), verdict), quorum=2, profiles=PRICED)
    assert result.judge == "judge"
    assert result.cost_usd is None


async def test_the_cost_is_unknown_when_a_price_is() -> None:
    result = await fused(priced_members(Usage(1, 1), favouring("four")), quorum=2, profiles={"ada": PRICED["ada"]})
    assert result.cost_usd is None
    assert result.usage == Usage(211, 36)


async def test_no_judge_means_no_judges_time_and_an_instant_panel_no_overhead() -> None:
    result = await fused({"ada": ScriptedMember(GOOD)})
    assert result.timings.judge_ms is None
    assert result.overhead_vs_slowest_member is None
    assert result.judge is None
    assert result.degraded is None


async def test_the_times_of_all_rounds_and_all_judges_add_up() -> None:
    result = await fused(
        {
            "ada": ScriptedMember(Answer("four"), delay_s=2),
            "bob": ScriptedMember(Answer("five"), delay_s=3),
            "judge": ScriptedMember(Fail(MemberUnavailable("refused")), delay_s=4),
            "deputy": ScriptedMember(Answer("It is four."), delay_s=5),
        },
        "debate",
        judges=("judge", "deputy"),
        quorum=2,
        rounds=2,
    )
    assert result.timings.panel_ms == pytest.approx(9000)
    assert result.timings.judge_ms == pytest.approx(9000)
    assert result.timings.total_ms == pytest.approx(18000)


async def test_a_failure_says_what_the_members_error_said() -> None:
    error = MemberRejected("too long for it", member="ada")
    error.usage = Usage(7, 0)
    result = await fused({"ada": ScriptedMember(Fail(error)), "bob": ScriptedMember(GOOD)})
    assert result.candidates[0].failure == Failure("rejected", "too long for it", usage=Usage(7, 0), rejected=True)
    assert result.degraded == "single_candidate: bob"
