"""Where finished files are stored, and for how long."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from deployments.recordings.arrow import fs
from deployments.recordings.segment import write_parquet
from deployments.recordings.settings import KeepSettings, RecordingSettings, is_local

RECORDING_PATH = re.compile(r"(?:^|/)day=(\d{4}-\d\d-\d\d)/(\d{8}T\d{6}-[\w.-]+)\.parquet$")
"""The path of a recording below the destination. Nothing else is ever removed."""


_WITHOUT_FOLDERS = frozenset({"s3", "gcs", "abfs"})


@dataclass(frozen=True, slots=True)
class Finished:
    """A Parquet file at its destination."""

    path: str
    day: date
    size_bytes: int


class Destination(Protocol):
    """Stores Parquet files.

    `spool` is the local folder that segments are written to. Every method raises `OSError` on failure.
    """

    spool: Path

    def contains(self, segment: Path) -> bool:
        """Whether the segment's file is already stored."""
        ...

    def store(self, segment: Path) -> int:
        """Store a segment as a Parquet file, complete or not at all. Returns its number of rows."""
        ...

    def finished(self) -> list[Finished]:
        """List the stored files."""
        ...

    def remove(self, file: Finished) -> None: ...


class LocalFolder:
    """A folder. A segment's file is written beside it."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder

    def contains(self, segment: Path) -> bool:
        return _parquet_file(segment).exists()

    def store(self, segment: Path) -> int:
        return write_parquet(segment, _parquet_file(segment))

    def finished(self) -> list[Finished]:
        found = ((path, RECORDING_PATH.search(path.as_posix())) for path in self.spool.glob("day=*/*.parquet"))
        return [
            Finished(str(path), date.fromisoformat(match[1]), path.stat().st_size) for path, match in found if match
        ]

    def remove(self, file: Finished) -> None:
        Path(file.path).unlink(missing_ok=True)
        with suppress(OSError):
            Path(file.path).parent.rmdir()


class ObjectStore:
    """A path in one of Arrow's file systems. A file is written in the spool and uploaded; an object store shows it once
    it is complete."""

    def __init__(self, filesystem: Any, base: str, spool: Path) -> None:
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self.spool = spool

    def contains(self, segment: Path) -> bool:
        return self._filesystem.get_file_info(self._target(segment)).type != fs.FileType.NotFound

    def store(self, segment: Path) -> int:
        file = _parquet_file(segment)
        try:
            if records := write_parquet(segment, file):
                target = self._target(segment)
                if self._filesystem.type_name not in _WITHOUT_FOLDERS:
                    self._filesystem.create_dir(target.rpartition("/")[0], recursive=True)
                fs.copy_files(
                    str(file), target, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self._filesystem
                )
            return records
        finally:
            file.unlink(missing_ok=True)

    def finished(self) -> list[Finished]:
        selector = fs.FileSelector(self._base, recursive=True, allow_not_found=True)
        found = ((info, RECORDING_PATH.search(info.path)) for info in self._filesystem.get_file_info(selector))
        return [Finished(info.path, date.fromisoformat(match[1]), info.size) for info, match in found if match]

    def remove(self, file: Finished) -> None:
        self._filesystem.delete_file(file.path)

    def _target(self, segment: Path) -> str:
        return f"{self._base}/{segment.parent.name}/{_parquet_file(segment).name}"


def destination(settings: RecordingSettings) -> Destination:
    """The destination that the settings name.

    Raises:
        ValueError: the path is neither a folder nor an object store that Arrow knows.
    """
    if is_local(settings.path):
        return LocalFolder(local_folder(settings.path))
    filesystem, base = fs.FileSystem.from_uri(settings.path)
    return ObjectStore(filesystem, base, Path(settings.spool))


def local_folder(path: str) -> Path:
    """The folder that a path or a `file:` URL names."""
    return Path(unquote(urlsplit(path).path) if path.startswith("file:") else path)


def outdated(files: Iterable[Finished], keep: KeepSettings, now: datetime | None = None) -> list[Finished]:
    """Select the files to remove, the oldest first. A file's age in days counts from the end of its day."""
    newest_first = sorted(files, key=lambda file: (file.day, Path(file.path).name), reverse=True)
    first_day = (now or datetime.now(UTC)).date() - timedelta(days=keep.days) if keep.days is not None else date.min
    kept_bytes = 0
    removed: list[Finished] = []
    for file in newest_first:
        kept_bytes += file.size_bytes
        if file.day < first_day or (keep.max_bytes is not None and kept_bytes > keep.max_bytes):
            removed.append(file)
    return removed[::-1]


def _parquet_file(segment: Path) -> Path:
    return segment.with_name(f"{segment.stem.removeprefix('.')}.parquet")
