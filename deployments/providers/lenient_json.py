"""Lenient accessors for JSON that a remote server wrote.

A value of another type than the one asked for reads as empty, so that each caller decides what it cannot do without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json, to_json

from fusion.errors import MalformedReply

_MAX_COUNT = 2**53 - 1  # up to which a float is exact, too


def parse_json(content: bytes | str) -> object:
    """Parses a document, which must be valid UTF-8 and hold no lone surrogates.

    Raises:
        MalformedReply: it is not JSON.
    """
    try:
        return from_json(content)
    except ValueError:
        raise MalformedReply("the reply is not JSON") from None


def dump_json(value: object) -> str:
    """Writes a value that was read from JSON as JSON text."""
    return to_json(value).decode()


def as_str(value: object) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_dict(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[Any]:
    """The value if it is an array, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_count(value: object) -> int | None:
    """The value if it is an integer from 0 to 2**53 - 1, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT else None
