"""Segments become Parquet files, in a thread of their own: sending one may take its time."""

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
"""Segments that may wait for a destination which does not take them; with more of them no new one is begun."""


RETRY_S = 15.0
"""How long to leave such a destination alone."""


class Finishing:
    """Hands full segments to their destination, and those that replicas which died have left behind; removes what need
    not be kept. A segment's lock is held until its file is there."""

    def __init__(
        self, destination: Destination, keep: KeepSettings, what: str, former_spool: Path | None = None
    ) -> None:
        self._destination = destination
        self._spools = [destination.spool] if former_spool is None else [destination.spool, former_spool]
        self._keep = keep
        self._full: deque[Segment] = deque()
        self._news = threading.Event()
        self._ending = False
        self.outage = Outage(what)
        self._thread = threading.Thread(target=self._run, name="recordings-files", daemon=True)
        self._thread.start()

    @property
    def takes_more(self) -> bool:
        return len(self._full) < MAX_WAITING

    def finish(self, segment: Segment) -> None:
        """Make a file of a segment that nobody writes to any more, soon."""
        self._full.append(segment)
        self._news.set()

    def close(self, ends_at: float) -> None:
        """Finish what can be finished until then, on `time.monotonic`'s clock. The rest is for the next start."""
        self._ending = True
        self._news.set()
        self._thread.join(max(0.0, ends_at - time.monotonic()))

    def _run(self) -> None:
        adopted = False
        while True:
            try:
                if not adopted:
                    self._adopt()
                    adopted = True
                self._hand_over_full()
                self._remove_outdated()
                self.outage.worked()
            except Exception as error:
                self.outage.failed(error)
            if self._ending:
                return
            self._news.wait(RETRY_S if self._full or not adopted else None)
            self._news.clear()

    def _hand_over_full(self) -> None:
        while self._full:
            self._hand_over(self._full[0].path)
            self._full.popleft().close()

    def _adopt(self) -> None:
        for spool in self._spools:
            for path, lock in abandoned(spool):
                try:
                    self._hand_over(path)
                finally:
                    os.close(lock)

    def _hand_over(self, segment: Path) -> None:
        if not self._destination.holds(segment):
            self._destination.take(segment)
        segment.unlink(missing_ok=True)
        with suppress(OSError):
            segment.parent.rmdir()

    def _remove_outdated(self) -> None:
        if self._keep.days is not None or self._keep.max_bytes is not None:
            for file in outdated(self._destination.finished(), self._keep):
                self._destination.remove(file)
