"""What is learnt from calls that ended and from those that were given up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.limits.call_stats import MAX_AGE_S, MIN_SAMPLES, WINDOW, CallStats, Latencies

NOW = 5000.0


def latencies(answered: list[float], given_up: list[float] = []) -> Latencies:  # noqa: B006
    known = Latencies()
    for took_s in answered:
        known.add(took_s, True, NOW)
    for took_s in given_up:
        known.add(took_s, False, NOW)
    return known


def test_little_is_concluded_from_nothing() -> None:
    few = latencies([1.0] * (MIN_SAMPLES - 1))
    assert (few.quantile_s(0.9, NOW), few.worthwhile_wait_s(0.5, 1.0, NOW)) == (None, None)
    assert latencies([]).worthwhile_wait_s(0.5, 1.0, NOW) is None
    assert CallStats().quantile_s("ada", "panel", 0.9, NOW) is None
    assert CallStats().worthwhile_wait_s("ada", "panel", 0.5, 1.0, NOW) is None
    assert CallStats().mean_cost_usd("ada", "panel") is None


def test_of_calls_that_all_answered_a_quantile_is_the_nearest_rank() -> None:
    known = latencies([float(second) for second in range(1, 11)])
    assert [known.quantile_s(share, NOW) for share in (0.1, 0.5, 0.9, 1.0)] == [1.0, 5.0, 9.0, 10.0]


def test_calls_that_were_given_up_count_as_slower_than_they_were_waited_for() -> None:
    known = latencies([1.0] * 5, given_up=[2.0] * 5)
    assert known.quantile_s(0.5, NOW) == 1.0
    assert known.quantile_s(0.9, NOW) == 2.0, "a lower bound where nobody waited long enough"


def test_what_is_old_is_forgotten_and_so_is_what_is_more_than_the_window() -> None:
    known = latencies([1.0] * 20)
    assert known.quantile_s(0.9, NOW + MAX_AGE_S) == 1.0
    assert known.quantile_s(0.9, NOW + MAX_AGE_S + 1) is None
    for _ in range(3 * WINDOW):
        known.add(2.0, True, NOW)
    assert known.known(NOW) == WINDOW
    assert known.quantile_s(0.01, NOW) == 2.0


def test_waiting_pays_for_what_is_about_to_come_and_not_for_what_never_does() -> None:
    soon = latencies([1.2] * 20)
    assert soon.worthwhile_wait_s(1.0, 1.0, NOW) == pytest.approx(0.2)
    assert soon.worthwhile_wait_s(1.0, 0.1, NOW) == 0.0, "an answer is worth less than the wait"
    assert latencies([], given_up=[2.0] * 20).worthwhile_wait_s(1.0, 1.0, NOW) == 0.0
    ten_times_slower = latencies([10.0] * 20)
    assert ten_times_slower.worthwhile_wait_s(1.0, 1.0, NOW) == 0.0


def test_waiting_pays_until_the_fast_ones_are_in_when_some_hang() -> None:
    often = latencies([1.2] * 15, given_up=[9.0] * 5)
    assert often.worthwhile_wait_s(1.0, 1.0, NOW) == pytest.approx(0.2)
    assert often.worthwhile_wait_s(1.3, 1.0, NOW) is None, "of five that ran so long too little is known"


def test_when_all_were_given_up_earlier_it_has_to_be_found_out_again() -> None:
    """Else a member that was slow once would never be waited for again."""
    assert latencies([], given_up=[1.0] * WINDOW).worthwhile_wait_s(1.1, 1.0, NOW) is None


TIMES = st.floats(0.1, 50)


@given(st.lists(TIMES, min_size=8, max_size=20), st.lists(TIMES, max_size=12), st.floats(0, 60), st.floats(0.01, 30))
def test_no_other_time_to_wait_is_worth_more(
    answered: list[float], given_up: list[float], age_s: float, worth_s: float
) -> None:
    """Against the definition, computed the slow way for calls that all answered."""
    known = latencies(answered, given_up)
    pays_s = known.worthwhile_wait_s(age_s, worth_s, NOW)
    later = [took_s for took_s in answered if took_s > age_s]
    if sum(took_s > age_s for took_s in [*answered, *given_up]) < MIN_SAMPLES:
        assert pays_s is None
        return
    assert pays_s is not None
    assert 0 <= pays_s <= max([0.0, *(took_s - age_s for took_s in later)]) + 1e-9
    if given_up:
        return

    def gain(wait_s: float) -> float:
        waited = sum(min(took_s - age_s, wait_s) for took_s in later) / len(later)
        return worth_s * sum(took_s - age_s <= wait_s for took_s in later) / len(later) - waited

    best = max(gain(wait_s) for wait_s in [0.0, *(took_s - age_s for took_s in later)])
    assert gain(pays_s) == pytest.approx(best, abs=1e-6)


@given(st.lists(st.tuples(TIMES, st.booleans()), min_size=8, max_size=30), st.floats(0.05, 0.95))
def test_the_order_of_calls_says_nothing(calls: list[tuple[float, bool]], share: float) -> None:
    one, other = Latencies(), Latencies()
    for took_s, answered in calls:
        one.add(took_s, answered, NOW)
    for took_s, answered in random.Random(1).sample(calls, len(calls)):
        other.add(took_s, answered, NOW)
    assert one.quantile_s(share, NOW) == other.quantile_s(share, NOW)
    assert one.worthwhile_wait_s(1.0, 2.0, NOW) == other.worthwhile_wait_s(1.0, 2.0, NOW)


@given(st.lists(st.tuples(TIMES, st.booleans()), min_size=WINDOW, max_size=WINDOW + 60), st.floats(0.05, 0.95))
def test_what_was_forgotten_leaves_nothing_behind(calls: list[tuple[float, bool]], share: float) -> None:
    everything, latest = Latencies(), Latencies()
    for took_s, answered in calls:
        everything.add(took_s, answered, NOW)
    for took_s, answered in calls[-WINDOW:]:
        latest.add(took_s, answered, NOW)
    assert everything.quantile_s(share, NOW) == latest.quantile_s(share, NOW)
    assert everything.worthwhile_wait_s(1.0, 2.0, NOW) == latest.worthwhile_wait_s(1.0, 2.0, NOW)


def test_a_mean_cost_follows_the_latest_calls() -> None:
    known = CallStats()
    for cost_usd in (1.0, 1.0, 2.0):
        known.record("ada", "panel", 1.0, answered=True, at=NOW, cost_usd=cost_usd)
    assert known.mean_cost_usd("ada", "panel") == pytest.approx(1.1)
