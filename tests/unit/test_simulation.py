"""The simulator itself, and what the queue-depth policy promises, under a crowd that comes all at once."""

from __future__ import annotations

import math

import pytest

from tests.simulation.arrivals import Trace, bursty, diurnal, flash_crowd
from tests.simulation.fleet import Fleet, Outcome, Service
from tests.simulation.policies import Fixed, QueueDepth, Scaler, ServeDefault

TARGET, MOST = 96.0, 1500
CROWD = flash_crowd(hours=0.3)


def _steady(per_s: float, lasts_s: float = 120.0) -> Trace:
    return Trace("steady", lambda _: per_s, lasts_s)


def _run(trace: Trace, scaler: Scaler, replicas: int, **service: float) -> Outcome:
    return Fleet(trace, Service(**service), scaler, replicas, MOST).run()  # type: ignore[arg-type]


def test_what_a_fleet_can_carry_it_carries() -> None:
    outcome = _run(_steady(100), Fixed(2), 2)
    assert outcome.arrived == pytest.approx(12_000)
    assert (outcome.missed, outcome.turns) == (0.0, 0)
    assert outcome.replica_hours == pytest.approx(2 * 120 / 3600)


def test_what_is_too_much_waits_then_is_late_or_refused() -> None:
    """One replica of 256 places at about two seconds each ends about 120 in a second."""
    outcome = _run(_steady(400), Fixed(1), 1)
    assert outcome.missed == pytest.approx(1 - 120 / 400, abs=0.1)
    assert max(outcome.waits_s) == pytest.approx(512 / 120, abs=1.0)
    impatient = _run(_steady(400), Fixed(1), 1, deadline_s=3.0)
    assert impatient.late > impatient.arrived / 5


def test_a_replica_with_too_much_to_compute_is_slow() -> None:
    assert _run(_steady(80), Fixed(1), 1).late == 0
    assert _run(_steady(80), Fixed(1), 1, cpu_s=0.1).late > 0


def test_more_arrivals_cost_the_simulator_no_more() -> None:
    """The outcome only depends on how many arrive for each replica."""
    few, many = (_run(_steady(400 * scale), Fixed(scale), scale) for scale in (1, 100))
    assert many.arrived == pytest.approx(100 * few.arrived)
    assert many.missed == pytest.approx(few.missed, abs=1e-6)


@pytest.mark.parametrize("start_s", [8.0, 90.0])
def test_a_crowd_is_met_sooner_than_by_serves_own_policy(start_s: float) -> None:
    first = math.ceil(CROWD.rate(0) / 44)
    ours = _run(CROWD, QueueDepth(TARGET), first, start_s=start_s)
    serves = _run(CROWD, ServeDefault(TARGET, MOST), first, start_s=start_s)
    assert ours.missed < 0.7 * serves.missed
    assert ours.replica_hours < 1.1 * serves.replica_hours


def test_a_steady_load_moves_nothing() -> None:
    """Once the first requests have ended: until then nothing is under way, and replicas are taken away."""
    outcome = _run(_steady(10_000, 900), QueueDepth(TARGET), 227)
    settled = outcome.replicas[10:]
    assert max(settled) - min(settled) <= 0.01 * 227


@pytest.mark.parametrize("trace", [diurnal(hours=1), bursty(hours=0.5), CROWD])
def test_traces_reach_from_their_rest_to_fifty_thousand_a_second(trace: Trace) -> None:
    rates = [trace.rate(float(now)) for now in range(int(trace.lasts_s))]
    assert min(rates) > 0
    assert 45_000 < max(rates) <= 50_000
