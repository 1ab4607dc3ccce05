"""Which recordings a command reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    """Selects recordings. A condition that is None holds for every recording."""

    since: date | None = None
    """The first day of arrival (UTC)."""
    until: date | None = None
    """The last day of arrival (UTC), included."""
    preset: str | None = None
    member: str | None = None
    """A member of the panel."""
    outcome: str | None = None

    def may_match_in(self, file: str) -> bool:
        """Whether a file can hold a matching recording, judging by its path alone.

        A recording is in the file of the day on which the request ended, which can be the day after its arrival.
        """
        _, found, rest = file.rpartition("day=")
        try:
            day = date.fromisoformat(rest[:10]) if found else None
        except ValueError:
            day = None
        return day is None or (self.since or day) <= day <= (self.until or day) + _A_DAY

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a recording meets every condition."""
        day = row["arrived_at"].date()
        return (
            (self.since or day) <= day <= (self.until or day)
            and self.preset in (None, row["preset"])
            and self.outcome in (None, row["outcome"])
            and (self.member is None or self.member in row["panel"])
        )
