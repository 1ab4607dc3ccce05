"""Reads recordings, from finished files and from those being written, and keeps the reason for each file it skips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.recordings.filter import RecordingFilter
from deployments.recordings.arrow import ArrowError, fs, parquet
from deployments.recordings.columns import COLUMNS, SCHEMA, SCHEMA_VERSION, Column
from deployments.recordings.destination import local_folder
from deployments.recordings.segment import SUFFIX, batches
from deployments.recordings.settings import is_local

Row = dict[str, Any]


_MAX_ROWS = 1024


_EMPTY_ROW: Row = dict.fromkeys(SCHEMA.names)


class RecordingsError(Exception):
    """The recordings cannot be used for what a command needs. The message says why."""


@dataclass(slots=True)
class RecordingFolder:
    """The recordings in a folder, in an object store, or in one Parquet file."""

    path: str
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Files that could not be read, each with the reason."""

    def rows(self, selected: RecordingFilter, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the selected recordings, file by file. `columns` are those to read, with a dot before a field of a
        structure; None reads all. A column that is not read, or not in an older file, is None.

        Raises:
            RecordingsError: there is no such place, or nothing is recorded there.
        """
        if columns is not None:
            columns = [*columns, "arrived_at", "preset", "outcome", "panel"]
        for batch in self._batches(selected, columns):
            is_older = columns is None and not batch.schema.equals(SCHEMA)
            for row in batch.to_pylist():
                if selected.matches(row):
                    yield _with_all_fields(row, COLUMNS) if is_older else _EMPTY_ROW | row

    def _batches(self, selected: RecordingFilter, columns: Sequence[str] | None) -> Iterator[Any]:
        filesystem, files = self._files()
        if not files:
            raise RecordingsError(f"nothing is recorded in {self.path}")
        for file in files:
            if selected.may_match_in(file):
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
        schema_version = metadata.get(b"schema_version", b"").decode()
        if not schema_version.isdigit():
            raise OSError("it holds no recordings")
        if int(schema_version) > SCHEMA_VERSION:
            raise OSError(
                f"a newer fusion-cluster wrote it (schema version {schema_version}, this reads up to {SCHEMA_VERSION})"
            )
        paths = [column.path for column in opened.schema]
        chosen = columns and [path for path in paths if any(_is_part(path, name) for name in columns)]
        yield from opened.iter_batches(batch_size=_MAX_ROWS, columns=chosen)


def _is_part(path: str, column: str) -> bool:
    """Whether a column of Parquet's, such as `candidates.list.element.member`, is (a part of) ours, such as
    `candidates.member` or `candidates`."""
    parts = [part for part in path.split(".") if part not in ("list", "element", "item")]
    wanted = column.split(".")
    return parts[: len(wanted)] == wanted


def _with_all_fields(row: Row, columns: Sequence[Column]) -> Row:
    filled = dict.fromkeys(column.name for column in columns) | row
    for column in columns:
        if column.fields:
            filled[column.name] = [_with_all_fields(part, column.fields) for part in row.get(column.name) or ()]
    return filled


def _first_line(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).partition("\n")[0]
