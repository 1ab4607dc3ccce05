"""Real sockets on a clock that jumps when nothing moves on them."""

from tests.unit.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
