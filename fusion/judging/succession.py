"""Asking judge models in line: one after the other until one gives what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fusion.presets import time_shares
from fusion.results import Failure
from fusion.steps import AskJudge, JudgeFailures, Outcome, Run

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Succession(Generic[T]):
    """What came of asking judge models in line."""

    value: T | None
    """What was read in a judge model's outcomes, None when every one of them failed."""
    judge: str | None
    """The judge model that gave it."""
    failures: JudgeFailures
    """The judge models that failed before it."""
    beside: tuple[Outcome, ...] = ()
    """The outcomes of the calls that went out beside the first judge model's."""


async def first_success(
    run: Run,
    judges: Sequence[str],
    asks_of: Callable[[str, float], Sequence[AskJudge]],
    read: Callable[[str, Sequence[Outcome]], T | Failure],
    beside: Sequence[AskJudge] = (),
) -> Succession[T]:
    """Ask the judge models one after the other until `read` finds a value in the outcomes of one.

    Args:
        run: asks them.
        judges: in the order in which they are asked.
        asks_of: makes the calls to a judge model, which has this share of the time that is left.
        read: takes the outcomes of those calls; a failure passes on to the next judge model in line.
        beside: calls that go out with those to the first judge model.

    Raises:
        JudgeInterrupted: part of an answer that streams had been sent, so no other judge model can take over.
    """
    failures: list[tuple[str, str]] = []
    outcomes_beside: tuple[Outcome, ...] = ()
    for judge, share in time_shares(judges):
        asks = asks_of(judge, share)
        outcomes = await run.ask_judges([*asks, *beside] if not failures else asks)
        if not failures:
            outcomes_beside = outcomes[len(asks) :]
        value = read(judge, outcomes[: len(asks)])
        if not isinstance(value, Failure):
            return Succession(value, judge, failures, outcomes_beside)
        failures.append((judge, value.code))
    return Succession(None, None, failures, outcomes_beside)
