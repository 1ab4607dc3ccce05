"""A request becomes a row."""

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
class Recording:
    """How much of a request's content is kept, and what stands in every row.

    With `hash`, texts are replaced by their HMAC-SHA-256 under `hash_key`: equal texts have equal digests, and only who
    has the key can find out a text by trying.
    """

    content: Content = "none"
    hash_key: bytes = field(default=b"", repr=False)
    in_every_row: Mapping[str, str] = field(default_factory=dict[str, str])

    def row(self, request: FusedRequest) -> dict[str, Any]:
        """A request as a row of the table."""
        return self._values(COLUMNS, request) | dict(self.in_every_row)

    def batch(self, requests: Sequence[FusedRequest]) -> Any:
        """Requests as Arrow's rows."""
        return batch_of([self.row(request) for request in requests])

    def _values(self, columns: Iterable[Column], source: Any) -> dict[str, Any]:
        return {column.name: self._value(column, source) for column in columns}

    def _value(self, column: Column, source: Any) -> Any:
        if column.each:
            return [self._values(column.each, part) for part in column.of(source)]
        if column.kept == "always" or (column.kept == "text" and self.content == "full"):
            return column.of(source)
        if column.kept == "digest" and self.content == "hash":
            return self._digest(column.of(source))
        return None

    def _digest(self, text: str | None) -> str | None:
        return None if text is None else hmac.new(self.hash_key, text.encode(), hashlib.sha256).hexdigest()
