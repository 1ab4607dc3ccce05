"""A short run of each kind: two kills, an applied change and its refusals, a step of load, and whether anything grows.

Serve's own proxy carries it, so that it can run beside others; `make chaos` runs behind HAProxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chaos import soak
from tests.chaos.chaos import BODY, another_preset, apply, happening, kill_replica
from tests.scaling.load import OK, Load, counted
from tests.scaling.service import KEY, Service, free_port, run_fusion, serving, wait_until_whole

CLIENTS = 6


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(
        False,
        panel_ms=(100, 150, 200),
        judge_ms=100,
        backends__pair__replicas={"min": 2, "max": 2},
        judge__replicas={"min": 2, "max": 2},
    ) as served:
        wait_until_whole(served)
        yield served


def through(service: Service, name: str, do: Any) -> Any:
    """What happens when it does."""

    async def under_load() -> Any:
        async with Load(service.url, BODY, KEY) as load:
            await load.clients(CLIENTS)
            return await happening(name, service, load, do)

    return asyncio.run(under_load())


def test_a_killed_members_calls_go_to_its_other_replica(service: Service) -> None:
    row = through(service, "member", kill_replica("member:writer"))
    assert row.failed == {}
    assert row.answered > CLIENTS
    assert row.whole_s is not None


def test_a_killed_judge_fails_no_more_than_it_had(service: Service) -> None:
    row = through(service, "judge", kill_replica("judge"))
    assert row.hung == 0
    assert sum(row.failed.values()) <= CLIENTS
    assert row.answered > CLIENTS
    assert row.whole_s is not None


def test_a_changed_preset_is_applied_without_a_lost_request(service: Service) -> None:
    before = {replica.id for replica in service.state().replicas if replica.deployment != "judge"}
    row = through(service, "preset", apply(another_preset))
    assert row.failed == {}
    assert {replica.id for replica in service.state().replicas if replica.deployment != "judge"} == before
    panel = yaml.safe_load(service.file.read_text())["presets"]["fusion/merge"]["panel"]
    assert panel == ["one", "two"]

    async def ask() -> str:
        async with Load(service.url, {**BODY, "fusion": {"panel": panel}}, KEY) as load:
            await load._once()
        return load.outcomes[0].how

    assert asyncio.run(ask()) == OK


def test_what_does_not_start_is_taken_back(service: Service) -> None:
    before = {replica.id for replica in service.state().replicas}
    good = service.file.read_text()

    def unknown_key(document: dict[str, Any]) -> None:
        document["backends"]["more"] = {**document["backends"]["pair"], "api_key_env": "FUSION_CHAOS_NO_SUCH_KEY"}
        document["members"]["more"] = {"backend": "more", "model": "after-1"}

    refused = service.apply(unknown_key)
    service.file.write_text(good)
    assert refused.returncode == 1
    assert "goes on with the configuration that it had" in refused.stderr
    assert {replica.id for replica in wait_until_whole(service).replicas} == before


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"port": 1}, 2, "needs a restart"),
        ({"portt": 1}, 2, "did you mean port?"),
    ],
)
def test_what_cannot_be_applied_is_said(service: Service, change: dict[str, Any], code: int, said: str) -> None:
    good = service.file.read_text()
    refused = service.apply(lambda document: document["server"].update(change))
    service.file.write_text(good)
    assert refused.returncode == code
    assert said in " ".join(refused.stderr.split())


def test_without_a_cluster_nothing_is_applied(service: Service) -> None:
    refused = run_fusion("apply", "-c", str(service.file), "--address", f"127.0.0.1:{free_port()}")
    assert refused.returncode == 1
    assert "no Ray cluster can be joined" in refused.stderr


def test_nothing_grows(service: Service) -> None:
    series, outcomes, _ = asyncio.run(soak.soak(service, 12, print))
    assert set(outcomes) == {OK}
    grown = [growth for growth in soak.growths(series) if growth.grew and growth.count in ("actors", "files", "tasks")]
    assert grown == []


def test_the_counts_tell_growth_from_noise() -> None:
    series = [(float(at), {("judge", "files"): 100.0 + at, ("judge", "tasks"): 20.0 + at % 2}) for at in range(60)]
    assert {growth.count: growth.grew for growth in soak.growths(series)} == {"files": True, "tasks": False}


def test_outcomes_are_counted_by_how_they_ended(service: Service) -> None:
    async def ask_without_a_key() -> Load:
        async with Load(service.url, BODY, "sk-wrong") as load:
            await load._once()
        return load

    assert counted(asyncio.run(ask_without_a_key()).outcomes) == {"401": 1}
