"""Unit tests run on a clock that jumps, and leave no files behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import settings

from tests.support.virtual_clock import VirtualClockLoop

settings.register_profile("unit", deadline=None, database=None, max_examples=50)
settings.load_profile("unit")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    return {"virtual": VirtualClockLoop}
