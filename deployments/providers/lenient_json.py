"""JSON that someone else's server wrote, read without taking anything about its shape for granted.

What is not of the type asked for reads as empty, so that each caller decides what it cannot do without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from pydantic_core import from_json, to_json

from fusion.errors import MalformedReply

_MAX_COUNT = 2**53 - 1  # up to which a float, too, is exact


def parsed(content: bytes | str) -> object:
    """The document in `content`, which must be valid UTF-8 and hold no lone surrogates.

    Raises:
        MalformedReply: it is not JSON.
    """
    try:
        return from_json(content)
    except ValueError:
        raise MalformedReply("the reply is not JSON") from None


def written(value: object) -> str:
    """The JSON text of a value that was read from JSON."""
    return to_json(value).decode()


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def items(value: object) -> Sequence[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def count(value: object) -> int | None:
    """A number of things, None when it is not one or too large to be computed with."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT else None


def new_call_id() -> str:
    """An id for a tool call that came without one; results name the call that they belong to by it."""
    return f"call_{uuid4().hex[:24]}"
