"""Asks engines for the limits of their models, so that the configuration need not have them."""

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
    """An engine that can be asked for its model's limits."""

    async def limits(self) -> ModelLimits:
        """The model's limits; waits for an engine that still starts.

        Raises:
            MemberError: it does not answer.
        """
        ...


async def discover(engine: Limited, on_limits: Callable[[ModelLimits], None]) -> None:
    """Ask an engine for its model's limits and pass them on; ask up to `ATTEMPTS` times, every `PAUSE_S`, while it does
    not answer."""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        try:
            limits = await engine.limits()
        except MemberError as error:
            _log.warning("no limits from an engine: %s", error.message)
        else:
            return on_limits(limits)


def with_limits(
    profiles: Mapping[str, MemberProfile], members: Iterable[str], limits: ModelLimits
) -> dict[str, MemberProfile]:
    """The profiles, with these limits for the given members. Images that the configuration denies stay denied."""
    known = {
        name: replace(
            profiles[name],
            takes_images=profiles[name].takes_images and limits.images,
            context_tokens=limits.context_tokens,
        )
        for name in members
    }
    return {**profiles, **known}
