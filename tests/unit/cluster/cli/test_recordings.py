"""`fusion recordings`, and the part of the configuration that it is about."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.config.loader import ConfigError, check_secrets, load
from cluster.config.schema import ClusterConfig
from cluster.recordings.filter import RecordingFilter
from cluster.recordings.folder import RecordingFolder
from deployments.recordings.columns import SCHEMA
from deployments.recordings.row import RowEncoder
from deployments.recordings.segment import Segment
from fusion.errors import MemberUnavailable
from fusion.testing import Fail, ScriptedMember
from tests.support.recorded import NOON, fused_request, recorded
from tests.unit.deployments.recordings.test_recorder import NOW

DAY_S = 86400.0


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Three requests on two days, the last of which failed."""
    down = {"ada": ScriptedMember(Fail(MemberUnavailable("down"))), "judge": ScriptedMember()}
    first = await fused_request(name="aaa-1")
    second = await fused_request(mode="merge", name="aaa-2", arrived_at=NOON + 60)
    recorded(tmp_path / "kept", [first, second])
    failed = await fused_request(down, name="bbb-1", arrived_at=NOON + DAY_S, quorum=1)
    file = recorded(tmp_path / "kept", [failed])
    target = tmp_path / "kept" / "day=2025-11-26" / file.name
    target.parent.mkdir()
    file.rename(target)
    return tmp_path / "kept"


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def ids(result: Any) -> list[str]:
    return [json.loads(line)["request_id"] for line in result.stdout.splitlines()]


async def test_requests_are_listed_newest_first_and_filtered(folder: Path) -> None:
    listed = run("recordings", "ls", "--recordings", folder, "--json")
    assert ids(listed) == ["bbb-1", "aaa-2", "aaa-1"]
    for filters, found in [
        (["--day", "2025-11-25"], ["aaa-2", "aaa-1"]),
        (["--since", "2025-11-26"], ["bbb-1"]),
        (["--until", "2025-11-25", "--limit", "1"], ["aaa-2"]),
        (["--outcome", "failed"], ["bbb-1"]),
        (["--member", "bob"], ["aaa-2", "aaa-1"]),
        (["--preset", "fusion/test", "--day", "2025-11-26"], ["bbb-1"]),
        (["--preset", "fusion/other"], []),
    ]:
        assert ids(run("recordings", "ls", "--recordings", folder, "--json", *filters)) == found
    table = run("recordings", "ls", "--recordings", folder).stdout
    assert "no_quorum" in table
    assert "2 of 3" in table
    assert "It is four." not in listed.stdout  # a list needs no content, and reads none


async def test_a_request_that_ended_after_midnight_is_one_of_the_day_on_which_it_came(tmp_path: Path) -> None:
    file = recorded(tmp_path, [await fused_request(name="late", arrived_at=NOON + DAY_S / 2 - 1)])
    target = tmp_path / "day=2025-11-26" / file.name
    target.parent.mkdir()
    file.rename(target)
    assert ids(run("recordings", "ls", "--recordings", tmp_path, "--json", "--day", "2025-11-25")) == ["late"]
    assert ids(run("recordings", "ls", "--recordings", tmp_path, "--json", "--day", "2025-11-26")) == []


async def test_one_request_is_shown_by_the_beginning_of_its_id(folder: Path) -> None:
    shown = run("recordings", "show", "aaa-1", "--recordings", folder).stdout
    for part in ("It is four.", "no connection", "ada won by judge's verdict", "What is two and two?"):
        assert part in shown
    assert json.loads(run("recordings", "show", "b", "--recordings", folder, "--json").stdout)["outcome"] == "failed"
    assert "aaa-1, aaa-2" in run("recordings", "show", "a", "--recordings", folder, code=1).stderr
    assert "no recorded request" in run("recordings", "show", "zzz", "--recordings", folder, code=1).stderr


async def test_requests_are_exported_with_all_that_is_known(folder: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run("recordings", "export", "--recordings", folder).stdout.splitlines()]
    assert [line["request_id"] for line in lines] == ["aaa-1", "aaa-2", "bbb-1"]
    assert set(lines[0]) == set(SCHEMA.names)
    table = run("recordings", "export", "--recordings", folder, "--format", "csv", "--outcome", "answered").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [json.loads(row["candidates"])[0]["content"] for row in rows] == ["It is four.", "It is four."]
    whole = tmp_path / "all.parquet"
    run("recordings", "export", "--recordings", folder, "--format", "parquet", "-o", whole)
    assert pq.read_table(whole).num_rows == 3
    assert pq.read_schema(whole).metadata == SCHEMA.metadata
    assert ids(run("recordings", "ls", "--recordings", whole, "--json")) == ["bbb-1", "aaa-2", "aaa-1"]
    assert "give a file with -o" in run("recordings", "export", "--recordings", folder, "-f", "parquet", code=2).stderr


async def test_files_that_cannot_be_read_are_skipped_and_named(folder: Path) -> None:
    day = folder / "day=2025-11-25"
    (day / "torn.parquet").write_bytes(next(day.glob("2*.parquet")).read_bytes()[:-100])
    pq.write_table(pa.table({"a": [1]}), day / "foreign.parquet")
    newer = pa.table({"a": [1]}).replace_schema_metadata({"schema_version": "2"})
    pq.write_table(newer, day / "newer.parquet")
    result = run("recordings", "ls", "--recordings", folder, "--json", code=1)
    assert ids(result) == ["bbb-1", "aaa-2", "aaa-1"]
    assert "torn.parquet: Parquet magic bytes not found" in result.stderr
    assert "foreign.parquet: it holds no recordings" in result.stderr
    assert "newer.parquet: a newer fusion-cluster wrote it (schema version 2" in result.stderr


async def test_what_is_being_written_is_read_too(tmp_path: Path) -> None:
    segment = Segment(tmp_path, NOW, "r1-00000")
    segment.append(RowEncoder().batch([await fused_request()]))
    assert [row["request_id"] for row in RecordingFolder(str(tmp_path)).rows(RecordingFilter())] == ["request-1"]
    segment.close()


async def test_a_file_that_lacks_columns_is_read_and_exported(folder: Path, tmp_path: Path) -> None:
    file = next((folder / "day=2025-11-26").iterdir())
    table = pq.read_table(file, partitioning=None)
    old = table.drop_columns(["verdicts", "candidates", "trace_id"]).append_column("dropped_since", pa.array(["x"]))
    pq.write_table(old.replace_schema_metadata({"schema_version": "1"}), file)
    lines = run("recordings", "export", "--recordings", folder, "--day", "2025-11-26").stdout
    assert json.loads(lines)["request_id"] == "bbb-1"
    run("recordings", "ls", "--recordings", folder)
    run("recordings", "show", "bbb-1", "--recordings", folder)
    whole = tmp_path / "all.parquet"
    run("recordings", "export", "--recordings", folder, "-f", "parquet", "-o", whole)
    assert pq.read_table(whole).column("trace_id").to_pylist() == [None] * 3


def test_where_nothing_is_recorded_that_is_said(tmp_path: Path) -> None:
    assert "there is no such folder" in run("recordings", "ls", "--recordings", tmp_path / "no", code=1).stderr
    assert "nothing is recorded in" in run("recordings", "ls", "--recordings", tmp_path, code=1).stderr
    assert "Give --recordings PATH" in run("recordings", "ls", code=2).stderr
    assert (
        "write it as 2026-01-31" in run("recordings", "ls", "--recordings", tmp_path, "--day", "31.1.", code=2).stderr
    )


async def test_the_former_names_of_the_commands_go_on_working_and_say_so(folder: Path, tmp_path: Path) -> None:
    current = run("recordings", "ls", "--recordings", folder, "--json")
    former = run("traces", "ls", f"--traces={folder}", "--json")
    assert former.stdout == current.stdout
    assert former.stderr.splitlines() == [
        "fusion traces is now called fusion recordings; the former name is accepted in this release only",
        "--traces is now called --recordings; the former name is accepted in this release only",
    ]
    assert current.stderr == ""
    page = run("report", "--traces", folder, "-o", tmp_path / "report.html").stderr
    assert "fusion report is now called fusion recordings report" in page
    assert (tmp_path / "report.html").exists()


def test_the_help_shows_current_names_alone() -> None:
    shown = run("--help").stdout + run("recordings", "--help").stdout + run("recordings", "ls", "--help").stdout
    assert "--recordings" in shown
    assert "traces" not in shown
    assert re.search(r"^\W*report\b", run("--help").stdout, re.MULTILINE) is None


CONFIG: Mapping[str, Any] = {
    "backends": {"api": {"kind": "remote", "base_url": "https://example.com/v1"}},
    "members": {"ada": {"backend": "api", "model": "a", "omits": ["seed", "top_p", "stop"]}},
    "presets": {"fusion/merge": {"mode": "merge", "panel": ["ada"], "judge": "ada"}},
}


@pytest.mark.parametrize(
    ("recordings", "complaint"),
    [
        ({"path": "t", "content": "hash"}, "content: hash needs hash_key_env"),
        ({"path": "t", "hash_key_env": "K"}, "hash_key_env belongs to content: hash, this is none"),
        ({"path": "t", "spool": "s"}, "spool belongs to an object store"),
        ({"path": "s3://me:secret@bucket/t"}, "must not hold credentials"),
        ({"path": "ftp://host/t"}, "not ftp"),
        ({"path": "t", "keep": {"weeks": 2}}, "weeks"),
        ({"path": "t", "content": "some"}, "content"),
    ],
)
def test_a_configuration_of_traces_that_cannot_be_meant(recordings: Any, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, "recordings": recordings}))
    with pytest.raises(ConfigError, match=complaint) as raised:
        load(file)
    assert "secret" not in str(raised.value)


def test_a_key_for_hashing_that_is_not_there_is_found_before_the_start(tmp_path: Path) -> None:
    hashed = {"path": "t", "content": "hash", "hash_key_env": "NO_KEY"}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, "recordings": hashed}))
    with pytest.raises(ConfigError, match=r"recordings.hash_key_env: the environment variable NO_KEY is unset"):
        check_secrets(file, load(file), {})


def test_what_a_replica_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = ClusterConfig.model_validate({**CONFIG, "recordings": {"path": "kept", "keep": {"days": 3}}})
    assert config.recordings
    settings = config.recordings.settings(config.fingerprint, tmp_path / "cache")
    assert (settings.path, settings.spool) == (str(tmp_path / "kept"), str(tmp_path / "cache" / "recordings"))
    assert settings.former_spool == str(tmp_path / "cache" / "traces")
    assert (settings.keep.days, settings.config_hash) == (3, config.fingerprint)


def test_a_configurations_fingerprint_tells_it_from_others() -> None:
    config = ClusterConfig.model_validate(CONFIG)
    same = ClusterConfig.model_validate({**CONFIG, "server": {"port": 8000}})
    other = ClusterConfig.model_validate({**CONFIG, "server": {"port": 8001}})
    assert config.fingerprint == same.fingerprint != other.fingerprint
    assert len(config.fingerprint) == 16


@pytest.mark.parametrize(
    ("tracing", "complaint"),
    [
        ({"endpoint": "http://collector:4318"}, "the whole address"),
        ({"endpoint": "grpc://collector:4317/v1/traces"}, "the whole address"),
        ({"endpoint": "https://me:secret@collector/v1/traces"}, "belongs into headers_env"),
        ({"endpoint": "http://collector:4318/v1/traces", "sample": 2}, "sample"),
    ],
)
def test_a_configuration_of_tracing_that_cannot_be_meant(tracing: Any, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, "tracing": tracing}))
    with pytest.raises(ConfigError, match=complaint) as raised:
        load(file)
    assert "secret" not in str(raised.value)


def test_spans_name_the_provider_of_each_backend() -> None:
    urls = {"one": "https://api.groq.com/openai/v1", "two": "http://127.0.0.1:8000/v1", "three": "https://myx.ai/v1"}
    config = ClusterConfig.model_validate(
        {
            "backends": {name: {"kind": "remote", "base_url": url} for name, url in urls.items()}
            | {
                "four": {"kind": "remote", "api": "gemini", "base_url": "https://example.com/v1"},
                "five": {"kind": "vllm", "model": "m", "accelerator": "cpu"},
            },
            "members": {"ada": {"backend": "one", "model": "a"}},
            "presets": {"fusion/merge": {"mode": "merge", "panel": ["ada"], "judge": "ada"}},
            "tracing": {"endpoint": "http://127.0.0.1:4318/v1/traces"},
        }
    )
    settings = config.tracing_settings()
    assert settings
    assert settings.providers == {
        "one": "groq",
        "two": "openai",
        "three": "openai",
        "four": "gcp.gemini",
        "five": "vllm",
    }
