"""Pickles the values that cross between processes as their class, a layout number and their fields in order.

A frozen dataclass with slots otherwise pickles its state by name and is filled in field by field, in Python both times,
which takes two to five times as long. Importing this module changes it for the process, its Serve handles included.
"""

from __future__ import annotations

import copyreg
import dataclasses
import pickle
import zlib
from collections.abc import Callable
from typing import Any

from fusion import chat

CROSSING: tuple[type[Any], ...] = (
    chat.Call,
    chat.Request,
    chat.Message,
    chat.TextPart,
    chat.ImagePart,
    chat.Tool,
    chat.ToolCall,
    chat.JsonSchema,
    chat.Sampling,
    chat.Reasoning,
    chat.Completion,
    chat.Usage,
    chat.Delta,
    chat.ToolCallDelta,
)
"""What a call, its answer and the pieces of it are made of."""


class LayoutMismatch(pickle.UnpicklingError):
    """The value was pickled by a release whose class has other fields."""


def packed(value: object) -> bytes:
    """Pickle a value for another process."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpacked(content: bytes) -> Any:
    """Unpickle what `packed` made in a process that is trusted with anything.

    Raises:
        LayoutMismatch: another release made it.
    """
    return pickle.loads(content)  # noqa: S301


def layout(kind: type[Any]) -> int:
    """A number that changes with the names or the order of a dataclass' fields."""
    return zlib.crc32(" ".join(field.name for field in dataclasses.fields(kind)).encode())


def restored(kind: type[Any], pickled_layout: int, *fields: Any) -> Any:
    """The value with these fields.

    Raises:
        LayoutMismatch: they were laid out otherwise where it was pickled.
    """
    if pickled_layout != _LAYOUTS[kind]:
        raise LayoutMismatch(f"a {kind.__name__} of another release of fusion-cluster, whose fields are others")
    return kind(*fields)


def _by_position(kind: type[Any]) -> Callable[[Any], tuple[Callable[..., Any], tuple[Any, ...]]]:
    names = [field.name for field in dataclasses.fields(kind)]
    number = _LAYOUTS[kind]

    def reduced(value: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return restored, (kind, number, *[getattr(value, name) for name in names])

    return reduced


_LAYOUTS = {kind: layout(kind) for kind in CROSSING}


for _kind in CROSSING:
    copyreg.pickle(_kind, _by_position(_kind))
