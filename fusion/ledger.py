"""What a fused request has used, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fusion.chat import Usage
from fusion.results import Spent


@dataclass(slots=True)
class Ledger:
    """Adds up calls by the stage of the request that made them, in the order in which the stages began."""

    _stages: dict[str, Spent] = field(default_factory=dict[str, Spent], init=False)

    def charge(self, stage: str, usage: Usage | None, cost_usd: float | None) -> None:
        """One call that was answered or paid for. What it used or cost is None where nobody said."""
        spent = self._stages.get(stage, Spent(stage, 0, Usage(), 0.0))
        self._stages[stage] = replace(
            spent,
            calls=spent.calls + 1,
            usage=spent.usage if usage is None else spent.usage + usage,
            cost_usd=None if spent.cost_usd is None or cost_usd is None else spent.cost_usd + cost_usd,
        )

    @property
    def stages(self) -> tuple[Spent, ...]:
        return tuple(self._stages.values())

    @property
    def usage(self) -> Usage:
        """Of all stages, as far as the backends said."""
        return sum((spent.usage for spent in self.stages), Usage())

    @property
    def cost_usd(self) -> float | None:
        """Of all stages, None as soon as one call's is unknown."""
        costs_usd = [spent.cost_usd for spent in self.stages]
        known_usd = [cost for cost in costs_usd if cost is not None]
        return sum(known_usd) if len(known_usd) == len(costs_usd) else None
