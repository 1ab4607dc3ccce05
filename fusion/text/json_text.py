"""JSON that a model wrote: read without trust, compared in one of two ways, and freed of a code fence.

`canonical_by_value` treats `1` and `1.0` as one number, as JSON schema does. It is for votes among answers whose values
are then checked. `canonical_as_written` keeps numbers as they are written and refuses what readers read differently
(a repeated key). It is for agreement, where an answer is returned without any further check.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast


class NotJson(ValueError):
    """A text is not one JSON document."""


def read_json(text: str) -> Any:
    """Parse one JSON document.

    Raises:
        NotJson: the text is something else, or contains `NaN`, an infinity or a number too large for a float.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise NotJson("the text is not JSON") from None
    if any(isinstance(leaf, float) and not math.isfinite(leaf) for leaf in _leaves(value)):
        raise NotJson("a number is too large")
    return value


def write_json(value: Any) -> str:
    """Write a value as JSON text, with non-ASCII characters as they are unless UTF-8 cannot encode them."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value)
    return text


def canonical_by_value(value: Any) -> str:
    """A text that is the same for equal values: keys in any order, and `1` for `1.0`, but not for `true`."""
    return json.dumps(_with_whole_numbers(value), sort_keys=True, separators=(",", ":"))


def canonical_as_written(text: str) -> str | None:
    """A text that is the same for JSON objects or arrays which differ only in the order of keys and in white space.

    None for any other text, and for an object with a repeated key. `1` and `1.0` differ, and large numbers are exact.
    """
    try:
        value = json.loads(
            text,
            parse_int=_Numeral,
            parse_float=_Numeral,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_repeated_keys,
        )
        return _write_with_numerals(value) if isinstance(value, dict | list) else None
    except (ValueError, RecursionError):
        return None


_FENCED = re.compile(r"```([^`\n]*)\n(.*)```", re.DOTALL)


def fenced_block(text: str) -> tuple[str, str] | None:
    """The language, in lower case, and the content of a text that is one fenced code block and nothing else."""
    match = _FENCED.fullmatch(text.strip())
    if match is None or any(line.lstrip().startswith("```") for line in match[2].split("\n")):
        return None
    return match[1].strip().lower(), match[2]


def without_json_fence(text: str) -> str:
    """The content of a text that is one fenced block of JSON, which many models write; any other text as it is."""
    block = fenced_block(text)
    return block[1].strip() if block and block[0] in ("", "json") else text


def mapping_or_empty(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def list_or_empty(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


class _Numeral(str):
    """A JSON number as it was written."""

    __slots__ = ()


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key occurs twice")
    return members


def _leaves(value: Any) -> Iterator[Any]:
    remaining = [value]
    while remaining:
        part = remaining.pop()
        if isinstance(part, dict):
            remaining += cast("dict[str, Any]", part).values()
        elif isinstance(part, list):
            remaining += cast("list[Any]", part)
        else:
            yield part


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_whole_numbers(part) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_with_whole_numbers(part) for part in cast("list[Any]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _write_with_numerals(value: Any) -> str:
    if isinstance(value, dict):
        members = sorted(cast("dict[str, Any]", value).items())
        return "{" + ",".join(f"{json.dumps(key)}:{_write_with_numerals(part)}" for key, part in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write_with_numerals, cast("list[Any]", value))) + "]"
    return str(value) if isinstance(value, _Numeral) else json.dumps(value)
