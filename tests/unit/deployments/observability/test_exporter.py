"""What an exporter hands to Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployments.judge.chain import judge_side
from deployments.observability.exporter import MEMBER, PERIOD_S, RECORDINGS, Exporter
from deployments.providers.backend import RemoteBackend
from deployments.providers.replica import RemoteMembers, RemoteSettings
from deployments.recordings.recorder import Recorder
from deployments.recordings.settings import RecordingSettings
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.resilience.targets import Targets
from fusion.testing import ScriptedMember
from tests.support.panels import profile


@dataclass
class Noted:
    """Stands for one of Ray's metrics and keeps what it is told."""

    name: str
    description: str
    tag_keys: tuple[str, ...]
    told: list[tuple[float, Mapping[str, str]]] = field(default_factory=list[tuple[float, Mapping[str, str]]])

    def inc(self, value: float, tags: Mapping[str, str]) -> None:
        assert value > 0  # Ray refuses any other
        self.told.append((value, tags))

    set = inc


@dataclass
class Counts:
    """Something that counts."""

    numbers: dict[str, float]

    def counters(self) -> Mapping[str, float]:
        return self.numbers


class Export:
    """An exporter and what it made of these members."""

    def __init__(self, **members: Counts) -> None:
        self.members = members
        self.made: dict[str, Noted] = {}
        self.exporter = Exporter(members, counter=self._make, gauge=self._make)

    def _make(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Noted:
        assert name not in self.made  # Ray would register it twice
        self.made[name] = Noted(name, description, tag_keys)
        return self.made[name]

    def told(self, name: str) -> list[tuple[float, str]]:
        return [(value, tags["member"]) for value, tags in self.made[MEMBER.prefix + name].told]


def test_totals_are_exported_by_what_they_grew() -> None:
    ada, bob = Counts({"retries_total": 0}), Counts({"retries_total": 2})
    export = Export(ada=ada, bob=bob)
    export.exporter.export()
    ada.numbers["retries_total"] = 3
    export.exporter.export()
    ada.numbers["retries_total"] = 4
    bob.numbers["retries_total"] = 4
    export.exporter.export()
    assert export.told("retries_total") == [(2, "bob"), (3, "ada"), (1, "ada"), (2, "bob")]


def test_a_member_that_was_replaced_counts_from_zero() -> None:
    export = Export(ada=Counts({"retries_total": 5}))
    export.exporter.export()
    export.members["ada"] = Counts({"retries_total": 2})
    export.exporter.export()
    assert export.told("retries_total") == [(5, "ada"), (2, "ada")]


def test_other_numbers_are_exported_as_they_are() -> None:
    ada = Counts({"limit_running": 7})
    export = Export(ada=ada)
    export.exporter.export()
    export.exporter.export()
    assert export.told("limit_running") == [(7, "ada"), (7, "ada")]


async def test_they_are_exported_once_a_second() -> None:
    export = Export(ada=Counts({"limit_running": 1}))
    export.exporter.start()
    await asyncio.sleep(5.5 * PERIOD_S)
    assert len(export.told("limit_running")) == 6
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()


async def test_without_members_nothing_runs() -> None:
    Export().exporter.start()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_every_number_of_a_member_has_a_description() -> None:
    settings = RemoteSettings(
        RemoteBackend("http://127.0.0.1:9/v1", None), RetrySettings(), BreakerSettings(), LimitSettings()
    )
    members = {"ada": ScriptedMember(), "bob": ScriptedMember()}
    profiles = {name: profile(name) for name in members}
    side = judge_side(members, profiles, {"ada": Targets(hedge="bob", fallbacks=("bob",))})
    remote = RemoteMembers(settings)
    remote.serve({"ada": {"model": "a", "omits": []}})
    counted = [
        remote.members["ada"],
        side.resilient["ada"],
    ]
    assert {name for part in counted for name in part.counters()} == set(MEMBER.descriptions)


def test_every_number_of_a_recorder_has_a_description(tmp_path: Path) -> None:
    recorder = Recorder(RecordingSettings(str(tmp_path), ""), "r1")
    recorder.close()
    assert list(recorder.counters()) == list(RECORDINGS.descriptions)


def test_a_family_of_one_has_no_tag() -> None:
    made: dict[str, Noted] = {}

    def make(name: str, description: str, tag_keys: tuple[str, ...]) -> Noted:
        return made.setdefault(name, Noted(name, description, tag_keys))

    Exporter({"": Counts({"written_total": 3})}, make, make, RECORDINGS).export()
    (noted,) = made.values()
    assert (noted.name, noted.tag_keys, noted.told) == ("fusion_recordings_written_total", (), [(3, {})])
