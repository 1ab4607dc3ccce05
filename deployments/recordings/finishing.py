"""Turns segments into Parquet files, in a thread of its own, because an upload can be slow."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from deployments.recordings.destination import Destination, outdated
from deployments.recordings.outage import Outage
from deployments.recordings.segment import Segment, abandoned
from deployments.recordings.settings import KeepSettings

MAX_WAITING = 16
"""How many segments may wait for a destination that fails. With more, no new segment is begun."""


RETRY_S = 15.0
"""Seconds until a destination that failed is tried again."""


class Finisher:
    """Delivers full segments, and those left behind by replicas that died, to the destination, and removes outdated
    files. A segment stays locked until its file is delivered."""

    def __init__(
        self, destination: Destination, keep: KeepSettings, what: str, former_spool: Path | None = None
    ) -> None:
        self._destination = destination
        self._spools = [destination.spool] if former_spool is None else [destination.spool, former_spool]
        self._keep = keep
        self._full: deque[Segment] = deque()
        self._wake = threading.Event()
        self._ending = False
        self.outage = Outage(what)
        self._thread = threading.Thread(target=self._run, name="recordings-files", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        return len(self._full) < MAX_WAITING

    def finish(self, segment: Segment) -> None:
        """Queue a segment that is complete."""
        self._full.append(segment)
        self._wake.set()

    def close(self, ends_at: float) -> None:
        """Finish what can be finished until `ends_at`, on `time.monotonic`'s clock. The next start does the rest."""
        self._ending = True
        self._wake.set()
        self._thread.join(max(0.0, ends_at - time.monotonic()))

    def _run(self) -> None:
        adopted = False
        while True:
            try:
                if not adopted:
                    self._adopt()
                    adopted = True
                self._deliver_full()
                self._remove_outdated()
                self.outage.succeeded()
            except Exception as error:
                self.outage.failed(error)
            if self._ending:
                return
            self._wake.wait(RETRY_S if self._full or not adopted else None)
            self._wake.clear()

    def _deliver_full(self) -> None:
        while self._full:
            self._deliver(self._full[0].path)
            self._full.popleft().close()

    def _adopt(self) -> None:
        for spool in self._spools:
            for path, lock in abandoned(spool):
                try:
                    self._deliver(path)
                finally:
                    os.close(lock)

    def _deliver(self, segment: Path) -> None:
        if not self._destination.contains(segment):
            self._destination.store(segment)
        segment.unlink(missing_ok=True)
        with suppress(OSError):
            segment.parent.rmdir()

    def _remove_outdated(self) -> None:
        if self._keep.days is not None or self._keep.max_bytes is not None:
            for file in outdated(self._destination.finished(), self._keep):
                self._destination.remove(file)
