"""Adds up what a fused request used and cost, stage by stage, and estimates what an early end saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fusion.chat import Usage
from fusion.limits.call_stats import CallStats
from fusion.presets import Preset
from fusion.results import Saved, Spent, Stage
from fusion.runtime.round_state import Round
from fusion.steps import JUDGE_STAGES


@dataclass(slots=True)
class Ledger:
    """Adds up calls by the stage of the request that made them, in the order in which the stages began."""

    _stages: dict[Stage, Spent] = field(default_factory=dict[Stage, Spent], init=False)

    def charge(self, stage: Stage, usage: Usage | None, cost_usd: float | None) -> None:
        """Add one call. `usage` and `cost_usd` are None if the backend did not report them."""
        spent = self._stages.get(stage, Spent(stage, 0, Usage(), 0.0))
        self._stages[stage] = replace(
            spent,
            calls=spent.calls + 1,
            usage=spent.usage if usage is None else spent.usage + usage,
            cost_usd=None if spent.cost_usd is None or cost_usd is None else spent.cost_usd + cost_usd,
        )

    @property
    def stages(self) -> tuple[Spent, ...]:
        """What each stage used and cost, in the order in which they began."""
        return tuple(self._stages.values())

    @property
    def usage(self) -> Usage:
        """The sum over all stages of what the backends reported."""
        return sum((spent.usage for spent in self.stages), Usage())

    @property
    def cost_usd(self) -> float | None:
        """The cost of all stages, None as soon as one call's cost is unknown."""
        costs_usd = [spent.cost_usd for spent in self.stages]
        known_usd = [cost for cost in costs_usd if cost is not None]
        return sum(known_usd) if len(known_usd) == len(costs_usd) else None


def saved(preset: Preset, rounds: Sequence[Round], judge_calls: int, call_stats: CallStats, now: float) -> Saved | None:
    """Estimate what was saved because candidates agreed or because no straggler was worth waiting for; None when
    nothing was."""
    settled = any(panel.settled for panel in rounds) and judge_calls == 0
    grace_s = sum(panel.grace_saved_s for panel in rounds)
    unasked = rounds[0].unasked if settled else ()
    cut_short = tuple(
        candidate.member
        for panel in rounds
        if panel.settled or panel.grace_saved_s
        for candidate in panel.outcomes
        if candidate.status == "cancelled"
    )
    if not settled and not cut_short:
        return None
    judge, stage = preset.judges[0] if preset.judges else "", JUDGE_STAGES[preset.decides_by]
    asks = 2 if preset.both_orders and preset.decides_by == "best-of" else 1
    times_s = [call_stats.quantile_s(judge, stage, 0.5, now)] if settled else []
    costs_usd = [call_stats.mean_cost_usd(judge, stage)] * asks if settled else []
    costs_usd += [call_stats.mean_cost_usd(member, "panel") for member in unasked]
    known_s = [time for time in times_s if time is not None]
    known_usd = [cost for cost in costs_usd if cost is not None]
    return Saved(
        judge_calls=asks if settled else 0,
        unasked=unasked,
        cut_short=cut_short,
        time_ms=(grace_s + sum(known_s)) * 1e3 if len(known_s) == len(times_s) else None,
        cost_usd=sum(known_usd) if len(known_usd) == len(costs_usd) else None,
    )
