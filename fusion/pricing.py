"""What a call costs, from measured usage and the operator's prices alone."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.chat import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input_per_mtok: float
    output_per_mtok: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Return what these tokens cost, in US dollars."""
        return (input_tokens * self.input_per_mtok + output_tokens * self.output_per_mtok) / 1e6


def cost_usd(usage: Usage | None, price: Price | None) -> float | None:
    """Return the cost of one call in US dollars, None when its usage or its price is unknown."""
    if usage is None or price is None:
        return None
    return price.of(usage.input_tokens, usage.output_tokens)
