"""Reads what was recorded, finished or not, and says of every file that it cannot read why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from deployments.recordings.arrow import ArrowError, fs, parquet
from deployments.recordings.columns import COLUMNS, SCHEMA, SCHEMA_VERSION, Column
from deployments.recordings.destination import local_folder
from deployments.recordings.segment import SUFFIX, batches
from deployments.recordings.settings import is_local

Row = dict[str, Any]


_A_DAY = timedelta(days=1)


_MAX_ROWS = 1024


_NOTHING: Row = dict.fromkeys(SCHEMA.names)


class RecordingsError(Exception):
    """What is recorded cannot be used for what was asked. The message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests are wanted: of these days (both included, UTC), of this preset, with this member in the panel,
    with this outcome; None is any."""

    since: date | None = None
    until: date | None = None
    preset: str | None = None
    member: str | None = None
    outcome: str | None = None

    def may_be_in(self, file: str) -> bool:
        """Whether a file can hold one of the days' requests, as far as its path tells. It is of the day on which they
        ended, which can be the one after."""
        _, found, rest = file.rpartition("day=")
        try:
            day = date.fromisoformat(rest[:10]) if found else None
        except ValueError:
            day = None
        return day is None or (self.since or day) <= day <= (self.until or day) + _A_DAY

    def matches(self, row: Row) -> bool:
        day = row["arrived_at"].date()
        return (
            (self.since or day) <= day <= (self.until or day)
            and self.preset in (None, row["preset"])
            and self.outcome in (None, row["outcome"])
            and (self.member is None or self.member in row["panel"])
        )


@dataclass(slots=True)
class RecordingFolder:
    """The recorded requests in a folder, in an object store, or in one Parquet file. Files that cannot be read are
    `skipped`, each with the reason.

    Raises:
        RecordingsError: there is no such place.
    """

    path: str
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def rows(self, wanted: Wanted, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """The wanted requests, a file after the other. `columns` are those to read, dotted where they are parts of a
        structure; None is all. What was not read, or is not in an older file, is None."""
        if columns is not None:
            columns = [*columns, "arrived_at", "preset", "outcome", "panel"]
        for batch in self._batches(wanted, columns):
            lacks = columns is None and not batch.schema.equals(SCHEMA)
            for row in batch.to_pylist():
                if wanted.matches(row):
                    yield _filled(row, COLUMNS) if lacks else _NOTHING | row

    def _batches(self, wanted: Wanted, columns: Sequence[str] | None) -> Iterator[Any]:
        filesystem, files = self._files()
        if not files:
            raise RecordingsError(f"nothing is recorded in {self.path}")
        for file in files:
            if wanted.may_be_in(file):
                try:
                    yield from _read(filesystem, file, columns)
                except (OSError, ArrowError) as error:
                    self.skipped.append((file, _first_line(error)))

    def _files(self) -> tuple[Any, list[str]]:
        try:
            if is_local(self.path):
                return fs.LocalFileSystem(), _local_files(local_folder(self.path))
            filesystem, base = fs.FileSystem.from_uri(self.path)
            selector = fs.FileSelector(base, recursive=True)
            found = [base] if base.endswith(".parquet") else [i.path for i in filesystem.get_file_info(selector)]
            return filesystem, sorted(file for file in found if file.endswith(".parquet"))
        except (OSError, ArrowError) as error:
            raise RecordingsError(f"{self.path} cannot be read: {_first_line(error)}") from error


def _local_files(path: Path) -> list[str]:
    if path.is_file():
        return [str(path)]
    if not path.is_dir():
        raise FileNotFoundError("there is no such folder")
    finished = [str(file) for file in path.glob("day=*/*.parquet")]
    # What is not finished is shown as well; once it is, its file stands for it.
    open_ones = [str(file) for file in path.glob(f"day=*/.*{SUFFIX}") if not _finished_from(file).exists()]
    return sorted([*finished, *open_ones])


def _finished_from(segment: Path) -> Path:
    return segment.with_name(f"{segment.stem.removeprefix('.')}.parquet")


def _read(filesystem: Any, file: str, columns: Sequence[str] | None) -> Iterator[Any]:
    if file.endswith(SUFFIX):
        if Path(file).exists():
            yield from batches(Path(file))
            return
        file = str(_finished_from(Path(file)))  # it was finished meanwhile
    with parquet.ParquetFile(file, filesystem=filesystem) as opened:
        metadata: dict[bytes, bytes] = opened.schema_arrow.metadata or {}
        said = metadata.get(b"schema_version", b"").decode()
        if not said.isdigit():
            raise OSError("it holds no recorded requests")
        if int(said) > SCHEMA_VERSION:
            raise OSError(f"a newer fusion-cluster wrote it (schema version {said}, this reads up to {SCHEMA_VERSION})")
        paths = [column.path for column in opened.schema]
        chosen = columns and [path for path in paths if any(_is_part(path, name) for name in columns)]
        yield from opened.iter_batches(batch_size=_MAX_ROWS, columns=chosen)


def _is_part(path: str, column: str) -> bool:
    """Whether a column of Parquet's, such as `candidates.list.element.member`, is (a part of) ours, such as
    `candidates.member` or `candidates`."""
    parts = [part for part in path.split(".") if part not in ("list", "element", "item")]
    wanted = column.split(".")
    return parts[: len(wanted)] == wanted


def _filled(row: Row, columns: Sequence[Column]) -> Row:
    filled = dict.fromkeys(column.name for column in columns) | row
    for column in columns:
        if column.each:
            filled[column.name] = [_filled(part, column.each) for part in row.get(column.name) or ()]
    return filled


def _first_line(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).partition("\n")[0]
