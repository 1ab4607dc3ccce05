"""What the models of our own engines take, in their own word: nobody has to write it down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fusion.errors import MemberError
from fusion.member import MemberProfile

ATTEMPTS = 10


PAUSE_S = 10.0


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Whether a model takes images, and how many tokens a prompt and its answer may have together."""

    images: bool
    context_tokens: int


class Limited(Protocol):
    """Whoever can be asked for its model's limits."""

    async def limits(self) -> ModelLimits:
        """The model's limits; waits for an engine that still starts.

        Raises:
            MemberError: it does not say.
        """
        ...


async def learn(engine: Limited, told: Callable[[ModelLimits], None]) -> None:
    """Ask an engine for its model's limits, again after a while when it does not say, and tell of them."""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        try:
            limits = await engine.limits()
        except MemberError as error:
            _log.warning("an engine does not say what its model takes: %s", error.message)
        else:
            return told(limits)


def with_limits(
    profiles: Mapping[str, MemberProfile], members: Iterable[str], limits: ModelLimits
) -> dict[str, MemberProfile]:
    """The profiles with what is known now of these members' model. What the configuration denies stays denied."""
    known = {
        name: replace(
            profiles[name],
            takes_images=profiles[name].takes_images and limits.images,
            context_tokens=limits.context_tokens,
        )
        for name in members
    }
    return {**profiles, **known}
