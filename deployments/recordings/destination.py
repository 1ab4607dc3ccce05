"""Where finished files go, and how long they stay there."""

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

OURS = re.compile(r"(?:^|/)day=(\d{4}-\d\d-\d\d)/(\d{8}T\d{6}-[\w.-]+)\.parquet$")
"""The path of a file of ours, below where they are all kept: nothing else is ever removed."""


_WITHOUT_FOLDERS = frozenset({"s3", "gcs", "abfs"})


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished file."""

    path: str
    day: date
    size_bytes: int


class Destination(Protocol):
    """Where Parquet files are kept.

    `spool` is the local folder that segments are written to. Every method raises `OSError` where it cannot do its work.
    """

    spool: Path

    def holds(self, segment: Path) -> bool:
        """Whether the file that the segment becomes is there already."""
        ...

    def take(self, segment: Path) -> int:
        """Make a Parquet file of a segment: whole, or not at all. Returns how many records it has."""
        ...

    def finished(self) -> list[Finished]:
        """Every file of ours."""
        ...

    def remove(self, file: Finished) -> None: ...


class LocalFolder:
    """A folder. A segment's file is made beside it."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder

    def holds(self, segment: Path) -> bool:
        return _file_of(segment).exists()

    def take(self, segment: Path) -> int:
        return write_parquet(segment, _file_of(segment))

    def finished(self) -> list[Finished]:
        found = ((path, OURS.search(path.as_posix())) for path in self.spool.glob("day=*/*.parquet"))
        return [
            Finished(str(path), date.fromisoformat(match[1]), path.stat().st_size) for path, match in found if match
        ]

    def remove(self, file: Finished) -> None:
        Path(file.path).unlink(missing_ok=True)
        with suppress(OSError):
            Path(file.path).parent.rmdir()


class ObjectStore:
    """A place behind one of Arrow's file systems. A file is made in the spool and sent: in an object store it is there
    once all of it is."""

    def __init__(self, filesystem: Any, base: str, spool: Path) -> None:
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self.spool = spool

    def holds(self, segment: Path) -> bool:
        return self._filesystem.get_file_info(self._target(segment)).type != fs.FileType.NotFound

    def take(self, segment: Path) -> int:
        file = _file_of(segment)
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
        found = ((info, OURS.search(info.path)) for info in self._filesystem.get_file_info(selector))
        return [Finished(info.path, date.fromisoformat(match[1]), info.size) for info, match in found if match]

    def remove(self, file: Finished) -> None:
        self._filesystem.delete_file(file.path)

    def _target(self, segment: Path) -> str:
        return f"{self._base}/{segment.parent.name}/{_file_of(segment).name}"


def destination(settings: RecordingSettings) -> Destination:
    """Where the settings say.

    Raises:
        ValueError: it is no folder, and no object store that Arrow knows.
    """
    if is_local(settings.path):
        return LocalFolder(local_folder(settings.path))
    filesystem, base = fs.FileSystem.from_uri(settings.path)
    return ObjectStore(filesystem, base, Path(settings.spool))


def local_folder(path: str) -> Path:
    """The folder that a path or a `file:` URL names."""
    return Path(unquote(urlsplit(path).path) if path.startswith("file:") else path)


def outdated(files: Iterable[Finished], keep: KeepSettings, now: datetime | None = None) -> list[Finished]:
    """The files that need not be kept, the oldest first. A day counts from its end."""
    newest_first = sorted(files, key=lambda file: (file.day, Path(file.path).name), reverse=True)
    first_day = (now or datetime.now(UTC)).date() - timedelta(days=keep.days) if keep.days is not None else date.min
    kept_bytes = 0
    gone: list[Finished] = []
    for file in newest_first:
        kept_bytes += file.size_bytes
        if file.day < first_day or (keep.max_bytes is not None and kept_bytes > keep.max_bytes):
            gone.append(file)
    return gone[::-1]


def _file_of(segment: Path) -> Path:
    return segment.with_name(f"{segment.stem.removeprefix('.')}.parquet")
