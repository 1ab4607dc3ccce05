"""Keys of the configuration that were renamed. The former name is accepted for one release, with a notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER_KEYS: Mapping[str, str] = {"traces": "recordings"}
"""Top-level keys: the former name, and the one that replaces it."""


def notice(former: str) -> str:
    """The line that tells an operator to rename a key."""
    return f"{former}: this key is now called {FORMER_KEYS[former]}; the former name is accepted in this release only"


def former_keys_in(document: Mapping[str, Any]) -> list[str]:
    """The former names that a configuration uses."""
    return [former for former in FORMER_KEYS if former in document]


def with_current_keys(document: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration under the current names of its keys.

    Raises:
        ValueError: a key stands there under both of its names.
    """
    for former in former_keys_in(document):
        if FORMER_KEYS[former] in document:
            raise ValueError(f"{former} and {FORMER_KEYS[former]} are the same key: give {FORMER_KEYS[former]} only")
    return {FORMER_KEYS.get(key, key): value for key, value in document.items()}
