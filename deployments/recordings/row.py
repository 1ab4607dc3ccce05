"""Turns requests into rows of the table."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.recordings.columns import COLUMNS, Column, batch_of
from deployments.recordings.fused_request import FusedRequest

Content = Literal["none", "hash", "full"]


@dataclass(frozen=True, slots=True)
class RowEncoder:
    """Encodes requests as rows, with as much of their content as `content` allows, and `constants` in every row.

    With `hash`, texts are replaced by their HMAC-SHA-256 under `hash_key`: equal texts have equal digests, and guessing
    a text takes the key.
    """

    content: Content = "none"
    hash_key: bytes = field(default=b"", repr=False)
    constants: Mapping[str, str] = field(default_factory=dict[str, str])

    def row(self, request: FusedRequest) -> dict[str, Any]:
        """Encode a request as a row."""
        return self._values(COLUMNS, request) | dict(self.constants)

    def batch(self, requests: Sequence[FusedRequest]) -> Any:
        """Encode requests as a record batch."""
        return batch_of([self.row(request) for request in requests])

    def _values(self, columns: Iterable[Column], source: Any) -> dict[str, Any]:
        return {column.name: self._value(column, source) for column in columns}

    def _value(self, column: Column, source: Any) -> Any:
        if column.fields:
            return [self._values(column.fields, part) for part in column.extract(source)]
        if column.content_policy == "always" or (column.content_policy == "text" and self.content == "full"):
            return column.extract(source)
        if column.content_policy == "digest" and self.content == "hash":
            return self._digest(column.extract(source))
        return None

    def _digest(self, text: str | None) -> str | None:
        return None if text is None else hmac.new(self.hash_key, text.encode(), hashlib.sha256).hexdigest()
