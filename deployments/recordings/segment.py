"""The file that recordings are written to before they become a Parquet file.

Parquet has its index at the end, so an unfinished file cannot be read. A segment is an Arrow IPC stream, which can be
read up to its last complete batch: what was written before a process died is not lost, and becomes a Parquet file
later. A living writer holds a lock on its segment, which the operating system releases when the writer dies.
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
    """A segment that this process writes, in a folder for its day (UTC). Its name is hidden, so that patterns for
    Parquet files do not match it.

    Raises:
        OSError: it cannot be written. What was written before stays readable, and the batch may be tried again.
    """

    def __init__(self, spool: Path, begun_at: datetime, writer: str) -> None:
        self._day = f"day={begun_at:%Y-%m-%d}"
        folder = spool / self._day
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{begun_at:%Y%m%dT%H%M%S}-{writer}"
        self.path = folder / f".{name}{SUFFIX}"
        self.size_bytes = 0
        # It is renamed once it is locked, so that no other process takes it for an abandoned one.
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
        """Whether a time is on the segment's day."""
        return self._day == f"day={now:%Y-%m-%d}"

    def append(self, batch: Any) -> None:
        """Write a batch. The operating system has it when this returns."""
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
    """Yield the segments whose writer has died, each with a descriptor that holds its lock, for the caller to close."""
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
    """Yield the complete batches of a segment."""
    with path.open("rb") as file:
        try:
            reader = pa.ipc.open_stream(file)
            while True:
                yield reader.read_next_batch()
        except (StopIteration, ArrowError, OSError):
            return


def write_parquet(segment: Path, target: Path) -> int:
    """Write a segment as a Parquet file, synced to disk and complete, or not at all. Returns its number of rows; with
    none, no file is written.

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
