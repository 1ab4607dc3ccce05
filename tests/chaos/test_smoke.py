"""A short run of each kind: two kills, an applied change, one that cannot be, and whether anything grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos import soak
from tests.chaos.chaos import BODY, Row, happening
from tests.chaos.events import Do, Document, another_preset, another_voice, apply, kill_replica
from tests.scaling.load import OK, Load
from tests.scaling.service import KEY, Service, run_fusion, serving, wait_until_whole
from tests.support.ports import free_port

CLIENTS = 6
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(
        panel_ms=(100, 150, 200),
        judge_ms=100,
        backends__pair__replicas={"min": 2, "max": 2},
        judge__replicas={"min": 2, "max": 2},
    ) as served:
        wait_until_whole(served)
        yield served


def through(service: Service, do: Do) -> Row:
    """What happens when it does."""

    async def under_load() -> Row:
        async with Load(service.url, BODY, KEY) as load:
            await load.clients(CLIENTS)
            return await happening("it", service, load, do, steady_s=1.0)

    return asyncio.run(under_load())


def replicas(service: Service) -> set[tuple[str, str]]:
    return {(replica.deployment, replica.id) for replica in wait_until_whole(service).replicas}


def test_a_killed_members_calls_go_to_its_other_replica(service: Service) -> None:
    row = through(service, kill_replica("remote:pair"))
    assert row.failed == {}
    assert row.answered > CLIENTS
    assert row.whole_s is not None


def test_a_killed_judge_fails_no_more_than_it_had(service: Service) -> None:
    row = through(service, kill_replica("judge"))
    assert row.hung == 0
    assert sum(row.failed.values()) <= CLIENTS
    assert row.answered > CLIENTS
    assert row.whole_s is not None


def test_a_changed_preset_and_a_changed_voice_restart_the_judges_alone(service: Service) -> None:
    before = replicas(service)

    def both(document: Document) -> None:
        another_preset(document)
        another_voice(document)

    row = through(service, apply(both))
    assert row.failed == {}
    assert row.answered > CLIENTS
    gone = {deployment for deployment, _ in before - replicas(service)}
    assert gone == {"judge"}
    assert asyncio.run(panel_of(service)) == {"one", "two"}


async def panel_of(service: Service) -> set[str]:
    async with (
        Load(service.url, BODY, KEY) as load,
        load._session.post(f"{service.url}/v1/chat/completions", json=BODY) as reply,
    ):
        return {candidate["member"] for candidate in (await reply.json())["fusion"]["candidates"]}


def test_what_does_not_start_is_taken_back(service: Service) -> None:
    before = replicas(service)
    good = service.file.read_text()

    def unknown_keys(document: dict[str, Any]) -> None:
        document["backends"]["more"] = {**document["backends"]["pair"], "api_key_env": "FUSION_CHAOS_NO_SUCH_KEY"}
        document["members"]["more"] = {"backend": "more", "model": "after-1"}
        document["backends"]["single"]["api_key_env"] = "FUSION_CHAOS_NO_SUCH_KEY"

    refused = service.apply(unknown_keys)
    service.file.write_text(good)
    assert refused.returncode == 1
    said = refused.stderr.replace("\n", " ")
    assert "does not start" in said
    assert "the environment variable FUSION_CHAOS_NO_SUCH_KEY is unset or empty" in said
    assert "The service continues with its previous configuration." in said
    assert "Traceback" not in said
    assert replicas(service) == before


def test_without_a_cluster_nothing_is_applied(service: Service) -> None:
    refused = run_fusion("apply", "-c", str(service.file), "--address", f"127.0.0.1:{free_port()}")
    assert refused.returncode == 1
    assert "no Ray cluster can be joined" in refused.stderr


def test_nothing_grows(service: Service) -> None:
    asyncio.run(soak.soak(service, 2, print))
    early = idle_counts(service)
    series, outcomes, _ = asyncio.run(soak.soak(service, 6, print))
    assert set(outcomes) == {OK}
    # While requests run, tasks follow the calls that happen to be under way.
    idle = soak.growths([(0.0, early), (1.0, idle_counts(service))])
    assert [growth for growth in idle if growth.grew and growth.count in ("actors", "files", "tasks")] == []
    counted = {growth.count for growth in soak.growths(series) if growth.kind == "judge"}
    assert counted == {"memory_mb", "files", "threads", "tasks", "objects"}


def idle_counts(service: Service) -> soak.Counts:
    """The counts once nothing is under way, or what little is left after a few seconds."""
    seen: list[soak.Counts] = []
    for _ in range(5):
        time.sleep(0.5)
        seen.append(soak.counts(service))
    return min(seen, key=lambda found: sum(count for (_, what), count in found.items() if what == "tasks"))


def test_the_counts_tell_growth_from_noise() -> None:
    series = [(float(at), {("judge", "files"): 100.0 + at, ("judge", "tasks"): 20.0 + at % 2}) for at in range(60)]
    assert {growth.count: growth.grew for growth in soak.growths(series)} == {"files": True, "tasks": False}
