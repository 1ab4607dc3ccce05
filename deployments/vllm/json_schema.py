"""An answer's JSON schema, as an engine's grammar needs it.

Up to its version 0.2.8 xgrammar takes a string whose length is bounded for any characters but quotes, backslashes and
line breaks, and so lets control characters through, which JSON forbids; a string with a pattern it keeps to what JSON
allows. It takes no repetition of more than 128 in a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

MAX_BOUND = 1024
"""Longer bounds stay as they are: a grammar of so many steps would take seconds to make."""


_MOST_AT_ONCE = 128


_ANY = r"[\s\S]"


_VALUES = frozenset({"const", "default", "enum", "example", "examples"})


def lengths_as_patterns(schema: Any) -> Any:
    """The schema with every bound on a string's length as a pattern that says the same."""
    if isinstance(schema, list):
        return [lengths_as_patterns(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    parts = cast("Mapping[str, Any]", schema)
    said = {key: part if key in _VALUES else lengths_as_patterns(part) for key, part in parts.items()}
    least, most = said.get("minLength", 0), said.get("maxLength")
    bounds = [bound for bound in (least, most) if bound is not None]
    if (
        said.get("type") != "string"
        or "pattern" in said
        or bounds == [0]
        or not all(isinstance(bound, int) and least <= bound <= MAX_BOUND for bound in bounds)
    ):
        return said
    said = {key: part for key, part in said.items() if key not in ("minLength", "maxLength")}
    rest = f"{_ANY}*" if most is None else _up_to(most - least)
    return {**said, "pattern": f"^{_exactly(least)}{rest}$"}


def _exactly(count: int) -> str:
    whole, left = divmod(count, _MOST_AT_ONCE)
    return f"{_ANY}{{{_MOST_AT_ONCE}}}" * whole + (f"{_ANY}{{{left}}}" if left else "")


def _up_to(count: int) -> str:
    """One way to match every length, for a pattern that leaves a choice takes far longer to compile."""
    if count <= _MOST_AT_ONCE:
        return f"{_ANY}{{0,{count}}}"
    fewer = f"{_ANY}{{0,{_MOST_AT_ONCE - 1}}}"
    return f"(?:{fewer}|{_exactly(_MOST_AT_ONCE)}{_up_to(count - _MOST_AT_ONCE)})"
