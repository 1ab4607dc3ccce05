"""Writes recordings in other formats."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from cluster.recordings.folder import Row
from deployments.recordings.arrow import parquet
from deployments.recordings.columns import COLUMNS, SCHEMA, batch_of

Format = Literal["jsonl", "csv", "parquet"]


_ROW_GROUP = 1024


def as_json(row: Row) -> str:
    """One recording as a line of JSON, with times in ISO 8601."""
    return json.dumps(row, ensure_ascii=False, default=_plain)


def write_jsonl(rows: Iterable[Row], out: IO[str]) -> int:
    """Write one recording a line. Returns their number."""
    count = 0
    for row in rows:
        out.write(as_json(row) + "\n")
        count += 1
    return count


def write_csv(rows: Iterable[Row], out: IO[str]) -> int:
    """Write a header, then one recording a line, with lists as JSON. Returns their number."""
    writer = csv.writer(out)
    writer.writerow([column.name for column in COLUMNS])
    count = 0
    for row in rows:
        writer.writerow([_cell(row.get(column.name)) for column in COLUMNS])
        count += 1
    return count


def write_parquet(rows: Iterable[Row], target: Path) -> int:
    """Write one file in the current schema, whatever version the rows are from. Returns their number."""
    count = 0
    with parquet.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_batch(batch_of(group))
            count += len(group)
    return count


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while group := list(islice(iterator, _ROW_GROUP)):
        yield group


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=_plain) if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
