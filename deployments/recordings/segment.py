"""The file that records are written to before they are a Parquet file.

Parquet has its index at the end, so a file that is not finished cannot be read. A segment is an Arrow IPC stream, which
can be read up to the last batch that is whole: what was written before a process died is there, and becomes a Parquet
file later. While its writer lives, it holds a lock on it, which the operating system takes away when the writer dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from deployments.recordings.arrow import ArrowError, pa, parquet
from deployments.recordings.columns import SCHEMA

SUFFIX = ".arrows"


_ROW_GROUP_ROWS = 4096


_ROW_GROUP_BYTES = 16 * 1024 * 1024


class Segment:
    """A segment that this process writes to, below a folder for its day (UTC). It is hidden, so that nobody's pattern
    for Parquet files finds it.

    Raises:
        OSError: it cannot be written. What was written before stays readable, and the same batch may be tried again.
    """

    def __init__(self, spool: Path, begun_at: datetime, writer: str) -> None:
        self._day = f"day={begun_at:%Y-%m-%d}"
        folder = spool / self._day
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{begun_at:%Y%m%dT%H%M%S}-{writer}"
        self.path = folder / f".{name}{SUFFIX}"
        self.size_bytes = 0
        # It gets its name once it is locked, so that nobody takes it for one whose writer died.
        unnamed = folder / f".{name}.new"
        self._file = os.open(unnamed, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._write(SCHEMA.serialize())
            unnamed.rename(self.path)
        except OSError:
            os.close(self._file)
            unnamed.unlink(missing_ok=True)
            raise

    def is_of(self, now: datetime) -> bool:
        """Whether this is still the day that it is for."""
        return self._day == f"day={now:%Y-%m-%d}"

    def append(self, batch: Any) -> None:
        """Write a batch. It is with the operating system when this returns."""
        self._write(batch.serialize())

    def close(self) -> None:
        os.close(self._file)

    def _write(self, content: Any) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.size_bytes)
                os.lseek(self._file, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes += len(content)


def abandoned(folder: Path) -> Iterator[tuple[Path, int]]:
    """The segments under a folder whose writer is gone, each with a descriptor that holds its lock; close it after."""
    for path in sorted(folder.glob(f"day=*/.*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # another process was faster
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        yield path, descriptor


def batches(path: Path) -> Iterator[Any]:
    """The batches of a segment that are whole."""
    with path.open("rb") as file:
        try:
            reader = pa.ipc.open_stream(file)
            while True:
                yield reader.read_next_batch()
        except (StopIteration, ArrowError, OSError):
            return


def write_parquet(segment: Path, target: Path) -> int:
    """Make a Parquet file of a segment, on the disk and whole, or not at all. Returns how many records it has; without
    any, no file is made.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = target.with_name(f".{target.name}.tmp")
    records = 0
    writer: Any = None
    try:
        for table in _row_groups(segment):
            if writer is None:
                writer = parquet.ParquetWriter(unfinished, table.schema, compression="zstd")
            writer.write_table(table)
            records += table.num_rows
        if writer is None:
            return 0
        writer.close()
        _sync(unfinished)
        unfinished.rename(target)
        _sync(target.parent)
    except BaseException:
        with suppress(OSError, ArrowError):
            if writer is not None:
                writer.close()
        unfinished.unlink(missing_ok=True)
        raise
    return records


def _row_groups(segment: Path) -> Iterator[Any]:
    held: list[Any] = []
    rows = size_bytes = 0
    for batch in batches(segment):
        held.append(batch)
        rows += batch.num_rows
        size_bytes += batch.nbytes
        if rows >= _ROW_GROUP_ROWS or size_bytes >= _ROW_GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, rows, size_bytes = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
