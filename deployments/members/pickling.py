"""How values are pickled when they cross between processes: as their class and its fields in order.

By itself a frozen dataclass with slots pickles its state by name and is filled in field by field, in Python both times,
which takes two to five times as long. Importing this module changes it for the process, its Serve handles included.
"""

from __future__ import annotations

import copyreg
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

from fusion import chat as values

CROSSING: tuple[type[Any], ...] = (
    values.Call,
    values.Request,
    values.Message,
    values.TextPart,
    values.ImagePart,
    values.Tool,
    values.ToolCall,
    values.JsonSchema,
    values.Sampling,
    values.Reasoning,
    values.Completion,
    values.Usage,
    values.Delta,
    values.ToolCallDelta,
)
"""What a call, its answer and the pieces of it are made of."""


def packed(value: object) -> bytes:
    """The value as it crosses."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpacked(content: bytes) -> Any:
    """The value that was packed, by a process that could as well do anything itself."""
    return pickle.loads(content)  # noqa: S301


def _by_position(kind: type[Any]) -> Callable[[Any], tuple[type[Any], tuple[Any, ...]]]:
    names = [field.name for field in dataclasses.fields(kind)]

    def reduced(value: Any) -> tuple[type[Any], tuple[Any, ...]]:
        return kind, tuple([getattr(value, name) for name in names])

    return reduced


for _kind in CROSSING:
    copyreg.pickle(_kind, _by_position(_kind))
