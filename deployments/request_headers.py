"""The headers of the HTTP request under way, for whoever continues its trace."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

REQUEST_HEADERS: ContextVar[Iterable[tuple[bytes, bytes]]] = ContextVar("request_headers", default=())
