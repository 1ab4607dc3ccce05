"""Something that does not work for a while, told once."""

from __future__ import annotations

import logging
import os

from fusion.errors import whereabouts

_log = logging.getLogger(__name__)


class Outage:
    """Says once in the log when what `what` names stops working, and once when it works again. `failures` counts."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lasts = False
        self.failures = 0

    def failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._lasts:
            self._lasts = True
            _log.error("%s does not work (%s); it is tried again, and requests go on", self._what, _reason(error))

    def worked(self) -> None:
        if self._lasts:
            self._lasts = False
            _log.warning("%s works again after %d failures", self._what, self.failures)


def _reason(error: Exception) -> str:
    """Why, without the paths and URLs that messages of Arrow's are full of."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else whereabouts(error)
