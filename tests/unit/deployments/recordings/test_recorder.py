"""What is recorded of a request, and how it gets to the disk."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.api.chat_request import parse_chat
from deployments.recordings import destination as destinations
from deployments.recordings import recorder as recorders
from deployments.recordings.columns import COLUMNS, SCHEMA, SCHEMA_VERSION, Column
from deployments.recordings.destination import Finished, ObjectStore, outdated
from deployments.recordings.finishing import Finisher
from deployments.recordings.recorder import Recorder
from deployments.recordings.row import RowEncoder
from deployments.recordings.segment import Segment, abandoned, batches, write_parquet
from deployments.recordings.settings import KeepSettings, RecordingSettings, RotateSettings
from deployments.secrets import Secret
from fusion.chat import ImagePart, Message, Reasoning, Request, Sampling, TextPart, Tool, ToolCall
from fusion.errors import MemberUnavailable
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.recorded import fused_request

PAGE = Path(__file__).parents[4] / "docs" / "recordings.md"
NOW = datetime(2025, 11, 25, 12, tzinfo=UTC)


def settings(folder: Path, **more: Any) -> RecordingSettings:
    return RecordingSettings(str(folder), str(folder / "spool"), **{"content": "full", **more})


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("day=*/*.parquet"))


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def until(found: Callable[[], object]) -> None:
    ends_at = time.monotonic() + 20
    while not found():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


async def test_all_that_is_known_of_a_request_is_in_its_row() -> None:
    request = await fused_request()
    row = RowEncoder("full", constants={"replica": "r1", "config_hash": "c1"}).row(request)
    assert request.fused
    assert list(row) == SCHEMA.names
    told = {
        "request_id": "request-1",
        "outcome": "answered",
        "mode": "best-of",
        "panel": ("ada", "bob", "cyd"),
        "judges": ("judge",),
        "winner": "ada",
        "judge": "judge",
        "seed": 7,
        "queued_ms": 0.5,
        "input_tokens": 30,
        "output_tokens": 15,
        "total_ms": pytest.approx(700),
        "judge_ms": pytest.approx(400),
        "content": "It is four.",
        "replica": "r1",
        "config_hash": "c1",
    }
    assert {name: row[name] for name in told} == told
    ada, bob, cyd = row["candidates"]
    assert (ada["content"], ada["status"], ada["latency_ms"], ada["model"]) == (
        "It is four.",
        "answered",
        pytest.approx(200),
        "ada",
    )
    assert bob["cost_usd"] == pytest.approx((10 + 2 * 5) / 1e6)
    assert (cyd["status"], cyd["error_code"], cyd["error_message"]) == ("failed", "unavailable", "no connection")
    (call,) = row["judge_calls"]
    assert (call["judge"], call["status"], call["output_tokens"]) == ("judge", "answered", 5)
    assert '"scores"' in call["content"]
    assert [(stage["stage"], stage["calls"], stage["output_tokens"]) for stage in row["stages"]] == [
        ("panel", 2, 10),
        ("judge", 1, 5),
    ]
    (verdict,) = row["verdicts"]
    assert {score["member"]: score["score"] for score in verdict["scores"]} == {"ada": 9, "bob": 3}


async def test_a_request_without_a_quorum_is_recorded_with_every_outcome() -> None:
    members = {
        "ada": ScriptedMember(Fail(MemberUnavailable("down"))),
        "bob": ScriptedMember(),
        "judge": ScriptedMember(),
    }
    row = RowEncoder("full").row(await fused_request(members))
    assert (row["outcome"], row["error_code"], row["content"], row["total_ms"]) == ("failed", "no_quorum", None, 0.0)
    assert {candidate["member"]: candidate["status"] for candidate in row["candidates"]}["ada"] == "failed"


@pytest.mark.parametrize("content", ["none", "hash"])
async def test_nothing_that_was_asked_or_answered_is_kept_unless_content_is_full(content: Any, tmp_path: Path) -> None:
    marked = Request((Message("system", "SECRET"), Message("user", "SECRET")))
    members = {
        "ada": ScriptedMember(Answer("SECRET a", (ToolCall("1", "SECRET", "{}"),))),
        "bob": ScriptedMember(Answer("SECRET b")),
        "judge": ScriptedMember(Answer('{"reason": "SECRET", "scores": {"A": 1, "B": 2}}')),
    }
    request = await fused_request(members, request=marked)
    batch = RowEncoder(content, b"key").batch([request])
    assert b"SECRET" not in batch.serialize().to_pybytes()
    (row,) = batch.to_pylist()
    digests = {row["request_hash"], row["content_hash"], *(each["content_hash"] for each in row["candidates"])}
    assert digests == {None} if content == "none" else len(digests - {None}) >= 3
    # Equal texts have equal digests under one key, and others under another.
    (again,) = RowEncoder(content, b"key").batch([request]).to_pylist()
    (other,) = RowEncoder(content, b"other").batch([request]).to_pylist()
    assert again["request_hash"] == row["request_hash"]
    assert content == "none" or other["request_hash"] != row["request_hash"]


async def test_a_recorded_request_can_be_read_back_as_it_was() -> None:
    asked = Request(
        (
            Message("developer", "Be terse."),
            Message("user", (TextPart("What is this?"), ImagePart("https://example.com/a.png", "low"))),
            Message("assistant", None, tool_calls=(ToolCall("call_1", "look", '{"at": 1}'),)),
            Message("tool", "a cat", tool_call_id="call_1"),
        ),
        Sampling(0.5, 0.9, 100, ("END",), 7, 0.1, 0.2, Reasoning("low")),
        (Tool("look", "Look closer.", {"type": "object"}),),
        "function:look",
        True,
    )
    row = RowEncoder("full").row(await fused_request(request=asked))
    assert parse_chat(row["request"].encode()).request == asked


async def test_a_killed_writer_leaves_every_whole_batch(tmp_path: Path) -> None:
    batch = RowEncoder("full").batch([await fused_request()])
    segment = Segment(tmp_path, NOW, "replica-00000")
    ends = [segment.size_bytes]
    for _ in range(3):
        segment.append(batch)
        ends.append(segment.size_bytes)
    segment.close()
    whole = segment.path.read_bytes()
    cut = tmp_path / "cut.arrows"
    for size in [*range(0, len(whole), 997), *ends, *(end - 1 for end in ends)]:
        cut.write_bytes(whole[:size])
        assert sum(found.num_rows for found in batches(cut)) == sum(end <= size for end in ends[1:])


def test_a_segment_is_taken_over_once_its_writer_is_gone(tmp_path: Path) -> None:
    segment = Segment(tmp_path, NOW, "replica-00000")
    assert list(abandoned(tmp_path)) == []
    segment.close()
    ((path, lock),) = abandoned(tmp_path)
    assert path == segment.path
    assert list(abandoned(tmp_path)) == []  # one taker is enough
    os.close(lock)


async def test_the_next_start_finishes_what_was_left(tmp_path: Path) -> None:
    segment = Segment(tmp_path, NOW, "dead-00000")
    segment.append(RowEncoder("full").batch([await fused_request(name="last words")]))
    segment.close()
    with segment.path.open("ab") as file:
        file.write(b"torn")
    Segment(tmp_path, NOW, "empty-00000").close()
    Recorder(settings(tmp_path), "next").close()
    (file,) = files(tmp_path)
    assert pq.read_table(file).to_pylist()[0]["request_id"] == "last words"
    assert left_over(tmp_path) == []


async def test_a_segment_whose_file_is_there_is_not_finished_twice(tmp_path: Path) -> None:
    segment = Segment(tmp_path, NOW, "dead-00000")
    segment.append(RowEncoder("full").batch([await fused_request()]))
    segment.close()
    target = segment.path.with_name("20251125T120000-dead-00000.parquet")
    write_parquet(segment.path, target)
    before = target.stat().st_mtime_ns
    Recorder(settings(tmp_path), "next").close()
    assert (files(tmp_path), target.stat().st_mtime_ns) == ([target], before)
    assert not segment.path.exists()


async def test_files_are_finished_when_they_are_full_and_when_the_recorder_ends(tmp_path: Path) -> None:
    recorder = Recorder(settings(tmp_path, rotate=RotateSettings(max_bytes=1)), "r1")
    recorder.record(await fused_request(name="one"))
    until(lambda: files(tmp_path))
    recorder.record(await fused_request(name="two"))
    recorder.close()
    assert [pq.read_table(file).column("request_id").to_pylist() for file in files(tmp_path)] == [["one"], ["two"]]
    assert recorder.counters() == {"written_total": 2, "dropped_total": 0, "write_failures_total": 0, "queued": 0}
    metadata = pq.read_schema(files(tmp_path)[0]).metadata
    assert metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()


async def test_a_path_that_cannot_be_written_costs_no_request_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "MAX_QUEUED", 3)
    monkeypatch.setattr(recorders, "FLUSH_S", 0.01)
    (tmp_path / "taken").write_text("a file where the folder should be")
    recorder = Recorder(settings(tmp_path / "taken"), "r1")
    request = await fused_request()
    recorder.record(request)
    until(lambda: recorder.counters()["write_failures_total"] > 2)
    for _ in range(5):
        recorder.record(request)
    assert recorder.counters()["dropped_total"] == 2
    assert [record.message for record in caplog.records if "recording" in record.message] == [
        f"recording requests in {tmp_path / 'taken'} fails (Not a directory); it is retried, "
        "and requests are not affected"
    ]
    (tmp_path / "taken").unlink()
    recorder.close()
    assert recorder.counters()["written_total"] == 4
    assert "succeeds again" in caplog.text


async def test_a_full_disk_loses_nothing_that_the_queue_can_hold(tmp_path: Path) -> None:
    segment = Segment(tmp_path, NOW, "r1-00000")
    batch = RowEncoder("full").batch([await fused_request()])
    segment.append(batch)
    before = segment.size_bytes
    with limited_file_size(before + 100), pytest.raises(OSError, match="File too large"):
        segment.append(batch)
    assert segment.path.stat().st_size == segment.size_bytes == before
    segment.append(batch)
    segment.close()
    assert sum(found.num_rows for found in batches(segment.path)) == 2


async def test_what_the_queue_holds_is_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "MAX_QUEUED_CHARS", 2500)
    (tmp_path / "taken").touch()
    recorder = Recorder(settings(tmp_path / "taken"), "r1")
    long = await fused_request(request=Request((Message("user", "x" * 1000),)))
    for _ in range(4):
        recorder.record(long)
    recorder.close()
    assert recorder.counters()["dropped_total"] == 2


async def test_one_request_that_cannot_be_written_does_not_take_others_with_it(tmp_path: Path) -> None:
    recorder = Recorder(settings(tmp_path), "r1")
    recorder.record(await fused_request(name="one"))
    recorder.record(await fused_request(name="half a character \ud800"))
    recorder.record(await fused_request(name="two"))
    recorder.close()
    assert pq.read_table(files(tmp_path)[0]).column("request_id").to_pylist() == ["one", "two"]
    assert recorder.counters()["dropped_total"] == 1


class Unreachable(ObjectStore):
    """An object store that can be down."""

    down = True

    def store(self, segment: Path) -> int:
        if self.down:
            raise OSError("unreachable")
        return super().store(segment)


async def test_an_object_store_is_given_whole_files_and_may_be_away_for_a_while(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    bucket = pyarrow.fs.SubTreeFileSystem(str(store), pyarrow.fs.LocalFileSystem())
    away = Unreachable(bucket, "recordings/", tmp_path / "spool")
    segment = Segment(away.spool, NOW, "r1-00000")
    segment.append(RowEncoder("full").batch([await fused_request()]))
    finisher = Finisher(away, KeepSettings(), "finishing")
    finisher.finish(segment)
    until(lambda: finisher.outage.failures)
    assert left_over(away.spool) == [segment.path]
    away.down = False
    finisher.close(time.monotonic() + 10)
    (file,) = (store / "recordings").glob("day=*/*.parquet")
    assert pq.read_table(file).num_rows == 1
    assert [found.path for found in away.finished()] == ["recordings/day=2025-11-25/20251125T120000-r1-00000.parquet"]
    away.remove(away.finished()[0])
    assert not file.exists()
    assert left_over(away.spool) == []


async def test_what_an_earlier_release_left_in_its_spool_is_finished(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = pyarrow.fs.SubTreeFileSystem(str(tmp_path / "store"), pyarrow.fs.LocalFileSystem())
    left = Segment(tmp_path / "traces", NOW, "r0-00000")
    left.append(RowEncoder("full").batch([await fused_request()]))
    left.close()
    destination = ObjectStore(store, "kept", tmp_path / "recordings")
    finisher = Finisher(destination, KeepSettings(), "finishing", tmp_path / "traces")
    finisher.close(time.monotonic() + 10)
    assert pq.read_table(tmp_path / "store" / "kept").num_rows == 1
    assert left_over(tmp_path / "traces") == []


def test_a_url_names_an_object_store_and_a_file_url_a_folder(tmp_path: Path) -> None:
    in_s3 = destinations.destination(
        RecordingSettings("s3://bucket/recordings?region=eu-north-1&endpoint_override=127.0.0.1:9", str(tmp_path))
    )
    assert isinstance(in_s3, ObjectStore)
    assert in_s3.spool == tmp_path
    in_folder = destinations.destination(RecordingSettings(f"file://{tmp_path}/a%20b", "unused"))
    assert in_folder.spool == tmp_path / "a b"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 100)), max_size=12), st.integers(1, 9), st.integers(1, 300))
def test_the_oldest_files_go_first_and_only_as_many_as_must(
    made: list[tuple[int, int]], days: int, max_bytes: int
) -> None:
    today = NOW.date()
    all_files = [Finished(f"{index:03}", today - timedelta(age), size) for index, (age, size) in enumerate(made)]
    gone = outdated(all_files, KeepSettings(days, max_bytes), NOW)
    kept = [file for file in all_files if file not in gone]
    assert gone == sorted(gone, key=lambda file: (file.day, file.path))
    assert all((NOW.date() - file.day).days <= days for file in kept)
    assert sum(file.size_bytes for file in kept) <= max_bytes
    young_enough = [file for file in gone if (NOW.date() - file.day).days <= days]
    if young_enough:
        assert sum(file.size_bytes for file in kept) + young_enough[-1].size_bytes > max_bytes


async def test_what_need_not_be_kept_is_removed_and_nothing_else(tmp_path: Path) -> None:
    old = tmp_path / "day=2020-01-01"
    old.mkdir()
    (old / "20200101T000000-r0-00000.parquet").write_bytes(b"ours")
    (old / "mine.parquet").write_bytes(b"not ours")
    Recorder(settings(tmp_path, keep=KeepSettings(days=30)), "r1").close()
    assert [path.name for path in old.iterdir()] == ["mine.parquet"]


def test_the_key_for_hashing_is_read_where_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORDINGS_KEY", "a key")
    hashing = settings(tmp_path, content="hash", hash_key=Secret(env="RECORDINGS_KEY"))
    Recorder(hashing, "r1").close()
    assert "a key" not in repr(hashing)


def test_every_column_has_its_row_in_the_documentation() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (\S.*?) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [row for row in rows if row[1] in _KINDS] == list(_documented(COLUMNS))


_KINDS = {"text", "number", "count", "time", "yes or no", "list of texts", "list"}
_KIND_OF = {
    "string": "text",
    "double": "number",
    "int64": "count",
    "int32": "count",
    "bool": "yes or no",
    "timestamp[us, tz=UTC]": "time",
    "list<item: string>": "list of texts",
}


def _documented(columns: tuple[Column, ...], above: str = "") -> Any:
    for column in columns:
        says = {
            "always": column.description,
            "text": f"*{column.description}*",
            "digest": f"{column.description} (`hash`)",
        }[column.content_policy]
        yield f"{above}{column.name}", "list" if column.fields else _KIND_OF[str(column.type)], says
        yield from _documented(column.fields, f"{above}{column.name}.")


class limited_file_size:  # noqa: N801
    """No file of this process grows beyond this, as on a disk that is full."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def __enter__(self) -> None:
        import resource

        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size_bytes, self._before[1]))

    def __exit__(self, *_: object) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
