"""The documentation's examples run as they stand, and what they assert holds."""

import asyncio
import runpy
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.virtual_clock import VirtualClockLoop

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.py"))


class _JumpingClock(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return VirtualClockLoop()


@pytest.fixture
def clock_that_jumps() -> Iterator[None]:
    """Examples are about who is waited for, and what they assert must hold on a machine that is busy."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_JumpingClock())
    yield
    asyncio.set_event_loop_policy(before)


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.usefixtures("clock_that_jumps")
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out.strip(), "an example shows something"
