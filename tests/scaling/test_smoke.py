"""A step of load: judges follow it, and no request fails."""

from __future__ import annotations

import asyncio

from tests.scaling.autoscale import CONFIG, QUICK, measure, wrong
from tests.scaling.load import OK
from tests.scaling.service import serving, wait_until_whole

DECIDED_WITHIN_S = 10.0


def test_judges_follow_a_step_of_load() -> None:
    with serving(**CONFIG) as service:
        wait_until_whole(service)
        _, steps, _ = asyncio.run(measure(service, QUICK, print))
    crowd = steps[1]
    assert set(crowd.outcomes) == {OK}
    assert crowd.decided_s is not None
    assert crowd.decided_s < DECIDED_WITHIN_S
    assert crowd.followed_s is not None
    assert [fault for fault in wrong(steps) if "replicas" not in fault] == []
