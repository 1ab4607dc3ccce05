"""What a call costs, where that is known."""

from __future__ import annotations

import pytest

from fusion.chat import Usage
from fusion.pricing import Price, cost_usd


def test_the_cost_is_tokens_times_prices() -> None:
    assert cost_usd(Usage(2_000_000, 500_000), Price(3, 15)) == pytest.approx(2 * 3 + 0.5 * 15)
    assert cost_usd(Usage(0, 0), Price(3, 15)) == 0
    assert cost_usd(Usage(10, 10), Price(0, 0)) == 0


def test_the_cost_is_unknown_without_usage_or_price() -> None:
    assert cost_usd(None, Price(3, 15)) is None
    assert cost_usd(Usage(1, 1), None) is None
    assert cost_usd(None, None) is None
