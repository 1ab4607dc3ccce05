"""What a deadline leaves time for."""

from __future__ import annotations

from fusion.limits.call_stats import CallStats
from fusion.presets import SKIPS, Preset, Skip
from fusion.steps import JUDGE_STAGES

SHARE = 0.9
"""Fraction of the recorded calls that must be fast enough for a part of the plan to be kept."""


def parts_to_skip(preset: Preset, left_s: float, call_stats: CallStats, now: float) -> frozenset[Skip]:
    """The parts of the preset's plan that are left out, so that what is left of the deadline is enough.

    The time that a plan takes is that of its calls, one after the other, each within the `SHARE` of its member's latest
    ones: the quorum's slowest member of a round, every rebuttal, and the judge model. Two calls at once take as long as
    the slower one, whose `SHARE` is the single call's at its square root. Parts are dropped in the order of `SKIPS`
    until the rest fits. Where a time is not known nothing is dropped on its account.
    """
    parts = _parts(preset)
    for dropped in range(len(parts) + 1):
        skips = frozenset(parts[:dropped])
        needed_s = _needed_s(preset, skips, call_stats, now)
        if needed_s is None or needed_s < left_s or dropped == len(parts):
            return skips if needed_s is not None else frozenset()
    raise AssertionError("unreachable")


def _parts(preset: Preset) -> list[Skip]:
    """What can be left out of this preset's plan, in the order in which it is."""
    if len(preset.panel) == 1:
        return []
    has = {"second_order": preset.both_orders and preset.decides_by == "best-of", "rebuttals": preset.mode == "debate"}
    return [skip for skip in SKIPS if has.get(skip, True)]


def _needed_s(preset: Preset, skips: frozenset[Skip], call_stats: CallStats, now: float) -> float | None:
    panel_s = _round_s(preset, "panel", call_stats, now)
    if panel_s is None:
        return None
    needed_s = panel_s
    if preset.mode == "debate" and "rebuttals" not in skips:
        rebuttal_s = _round_s(preset, "rebuttal", call_stats, now)
        needed_s += preset.rounds * (panel_s if rebuttal_s is None else rebuttal_s)
    if "judge" in skips or len(preset.panel) == 1:
        return needed_s
    stage = JUDGE_STAGES[preset.decides_by]
    twice = preset.both_orders and stage == "judge" and "second_order" not in skips
    judge_s = call_stats.quantile_s(preset.judges[0], stage, SHARE ** (1 / 2) if twice else SHARE, now)
    return None if judge_s is None else needed_s + judge_s


def _round_s(preset: Preset, stage: str, call_stats: CallStats, now: float) -> float | None:
    """When a quorum of the panel has answered; None when too few of its members are known."""
    times_s = [call_stats.quantile_s(member, stage, SHARE, now) for member in preset.panel]
    known_s = sorted(time for time in times_s if time is not None)
    return known_s[preset.quorum - 1] if len(known_s) >= preset.quorum else None
