"""Logs the start and the end of an outage, once each."""

from __future__ import annotations

import logging
import os

from fusion.errors import whereabouts

_log = logging.getLogger(__name__)


class Outage:
    """Logs once when the activity `what` begins to fail, and once when it succeeds again. `failures` counts every
    failure."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ongoing = False
        self.failures = 0

    def failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._ongoing:
            self._ongoing = True
            _log.error("%s fails (%s); it is retried, and requests are not affected", self._what, _reason(error))

    def succeeded(self) -> None:
        if self._ongoing:
            self._ongoing = False
            _log.warning("%s succeeds again after %d failures", self._what, self.failures)


def _reason(error: Exception) -> str:
    """The reason without the paths and URLs in Arrow's messages."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else whereabouts(error)
