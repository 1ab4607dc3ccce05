"""The settings of recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from deployments.secrets import Secret

Content = Literal["none", "hash", "full"]


_DAY_S = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class RotateSettings:
    """When a file is finished and the next one begun: at `max_bytes` before compression, `max_age_s` after it was
    begun, and at midnight (UTC)."""

    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class KeepSettings:
    """How many days and how many bytes of files are kept; None is no limit. The oldest are removed first."""

    days: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """Where requests are recorded, and how much of them."""

    path: str
    """A folder, or an object store's URL."""
    spool: str
    """The local folder that collects what goes to an object store."""
    content: Content = "none"
    """What is kept of prompts and answers: nothing, their digests, or all of it."""
    hash_key: Secret | None = None
    """The key of the digests. Set exactly when `content` is `hash`."""
    rotate: RotateSettings = RotateSettings()
    """When a file is finished and the next one begun."""
    keep: KeepSettings = KeepSettings()
    """Which finished files are removed."""
    config_hash: str = ""
    """The configuration's fingerprint, written into every row."""
    former_spool: str | None = None
    """Where earlier releases collected what goes to an object store. What they left there is finished too."""


def is_local(path: str) -> bool:
    """Whether a path is a folder rather than an object store's URL."""
    return urlsplit(path).scheme in ("", "file")
