"""What engines say of their models is known without being written down."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from deployments.members.model_limits import ATTEMPTS, PAUSE_S, ModelLimits, discover, with_limits
from fusion.errors import MemberUnavailable
from tests.support.panels import profile

TEXT_ALONE = ModelLimits(images=False, context_tokens=2048)


class Engine:
    """An engine that says what its model takes when it has failed so often."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0

    async def limits(self) -> ModelLimits:
        self.asked += 1
        if self.asked <= self.failures:
            raise MemberUnavailable("not up")
        return TEXT_ALONE


async def test_an_engine_is_asked_until_it_says() -> None:
    began_at = asyncio.get_running_loop().time()
    told: list[ModelLimits] = []
    engine = Engine(failures=2)
    await discover(engine, told.append)
    assert told == [TEXT_ALONE]
    assert asyncio.get_running_loop().time() - began_at == 2 * PAUSE_S


async def test_an_engine_is_not_asked_for_ever() -> None:
    told: list[ModelLimits] = []
    engine = Engine(failures=ATTEMPTS)
    await discover(engine, told.append)
    assert (told, engine.asked) == ([], ATTEMPTS)


def test_what_is_known_is_its_own_members_alone() -> None:
    before = {name: profile(name) for name in ("ada", "bob", "cyd")}
    after = with_limits(before, ["ada", "bob"], TEXT_ALONE)
    assert after["cyd"] == before["cyd"]
    for name in ("ada", "bob"):
        assert after[name] == replace(before[name], takes_images=False, context_tokens=2048)


def test_what_the_configuration_denies_stays_denied() -> None:
    blind = replace(profile("ada"), takes_images=False)
    assert not with_limits({"ada": blind}, ["ada"], ModelLimits(True, 4096))["ada"].takes_images
