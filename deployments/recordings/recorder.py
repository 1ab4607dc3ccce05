"""Records requests without delaying them: `record` puts each into a queue, and threads do the rest.

request ──► queue ──(twice a second)──► segment ──(when it is full)──► Parquet file, at its destination
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.recordings.destination import destination
from deployments.recordings.finishing import Finisher
from deployments.recordings.fused_request import FusedRequest
from deployments.recordings.outage import Outage
from deployments.recordings.row import RowEncoder
from deployments.recordings.segment import Segment
from deployments.recordings.settings import RecordingSettings, is_local
from fusion.errors import whereabouts

FLUSH_S = 0.5
"""Seconds between two writes of the queue. A replica that is killed loses what is younger than this and one write."""


MAX_QUEUED = 8192


MAX_QUEUED_CHARS = 64 * 1024 * 1024


_MAX_BATCH = 512


_log = logging.getLogger(__name__)


class Recorder:
    """Records the requests of the judge replica `replica`.

    Its memory is bounded: when the queue is full, requests are dropped and counted. No failure here reaches a request.

    Raises:
        MissingSecret: at construction, when the key for hashing is not where the configuration says.
        ValueError: at construction, when the path is no folder and no object store that Arrow knows.
    """

    def __init__(self, settings: RecordingSettings, replica: str) -> None:
        key = b"" if settings.hash_key is None else settings.hash_key.read().encode()
        self._encoder = RowEncoder(settings.content, key, {"config_hash": settings.config_hash, "replica": replica})
        self._rotate = settings.rotate
        self._replica = replica
        target = destination(settings)
        self._spool = target.spool
        self._write_outage = Outage(f"recording requests in {self._spool}")
        former_spool = None if is_local(settings.path) or not settings.former_spool else Path(settings.former_spool)
        self._finisher = Finisher(target, settings.keep, f"finishing files in {settings.path}", former_spool)
        # Two counters, because each is written by one thread alone.
        self._queue: deque[FusedRequest] = deque()
        self._put_chars = self._taken_chars = 0
        self._refused = self._lost = self._recorded = self._files = 0
        self._pending: Any = None
        self._segment: Segment | None = None
        self._begun_at = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()

    def record(self, request: FusedRequest) -> None:
        """Queue a request, or drop it if the queue is full."""
        size_chars = request.size_chars
        if len(self._queue) >= MAX_QUEUED or self._put_chars + size_chars - self._taken_chars > MAX_QUEUED_CHARS:
            self._refused += 1
            return
        self._put_chars += size_chars
        self._queue.append(request)

    def counters(self) -> Mapping[str, float]:
        return {
            "written_total": self._recorded,
            "dropped_total": self._refused + self._lost,
            "write_failures_total": self._write_outage.failures + self._finisher.outage.failures,
            "queued": len(self._queue),
        }

    def close(self, timeout_s: float = 5.0) -> None:
        """Write the queue and finish the file, as far as `timeout_s` allows."""
        ends_at = time.monotonic() + timeout_s
        self._ending.set()
        self._thread.join(timeout_s)
        self._finisher.close(ends_at)

    def _run(self) -> None:
        while True:
            ending = self._ending.wait(FLUSH_S)
            try:
                self._flush()
                if self._segment is not None and (ending or self._is_full(self._segment)):
                    self._finisher.finish(self._segment)
                    self._segment = None
            except Exception as error:
                self._write_outage.failed(error)
            if ending:
                return

    def _flush(self) -> None:
        while self._pending is not None or self._queue:
            if self._pending is None:
                self._pending = self._batch(self._take())
            if self._pending is not None:
                self._current().append(self._pending)
                self._write_outage.succeeded()
                self._recorded += self._pending.num_rows
                self._pending = None

    def _take(self) -> list[FusedRequest]:
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_BATCH))]
        self._taken_chars += sum(request.size_chars for request in taken)
        return taken

    def _batch(self, requests: Sequence[FusedRequest]) -> Any:
        try:
            return self._encoder.batch(requests)
        except Exception:  # one that cannot be written must not take the others with it
            good = [request for request in requests if self._is_writable(request)]
            return self._encoder.batch(good) if good else None

    def _is_writable(self, request: FusedRequest) -> bool:
        try:
            self._encoder.batch([request])
        except Exception as error:
            self._lost += 1
            _log.error("a request cannot be recorded: %s", whereabouts(error))
            return False
        return True

    def _current(self) -> Segment:
        """The segment to write to.

        Raises:
            OSError: none can be begun.
        """
        if self._segment is not None and self._is_full(self._segment):
            self._finisher.finish(self._segment)
            self._segment = None
        if self._segment is None:
            if not self._finisher.has_room:
                raise OSError("too many files are waiting for their destination")
            self._segment = Segment(self._spool, datetime.now(UTC), f"{self._replica}-{self._files:05}")
            self._begun_at = time.monotonic()
            self._files += 1
        return self._segment

    def _is_full(self, segment: Segment) -> bool:
        return (
            segment.size_bytes >= self._rotate.max_bytes
            or time.monotonic() - self._begun_at >= self._rotate.max_age_s
            or not segment.is_of(datetime.now(UTC))
        )
