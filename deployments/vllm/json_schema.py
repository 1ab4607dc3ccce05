"""Rewrites an answer's JSON schema for an engine's grammar.

Up to its version 0.2.8 xgrammar takes a string whose length is bounded for any characters but quotes, backslashes and
line breaks, and so lets control characters through, which JSON forbids; a string with a pattern it keeps to what JSON
allows. It takes no repetition of more than 128 in a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

MAX_BOUND = 1024
"""Longer bounds stay as they are: their grammar would take seconds to compile."""


_MAX_REPETITION = 128


_ANY = r"[\s\S]"


_VALUES = frozenset({"const", "default", "enum", "example", "examples"})


def lengths_as_patterns(schema: Any) -> Any:
    """The schema with every bound on a string's length as an equivalent pattern."""
    if isinstance(schema, list):
        return [lengths_as_patterns(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    parts = cast("Mapping[str, Any]", schema)
    rewritten = {key: part if key in _VALUES else lengths_as_patterns(part) for key, part in parts.items()}
    least, most = rewritten.get("minLength", 0), rewritten.get("maxLength")
    bounds = [bound for bound in (least, most) if bound is not None]
    if (
        rewritten.get("type") != "string"
        or "pattern" in rewritten
        or bounds == [0]
        or not all(isinstance(bound, int) and least <= bound <= MAX_BOUND for bound in bounds)
    ):
        return rewritten
    rewritten = {key: part for key, part in rewritten.items() if key not in ("minLength", "maxLength")}
    rest = f"{_ANY}*" if most is None else _up_to(most - least)
    return {**rewritten, "pattern": f"^{_exactly(least)}{rest}$"}


def _exactly(count: int) -> str:
    whole, left = divmod(count, _MAX_REPETITION)
    return f"{_ANY}{{{_MAX_REPETITION}}}" * whole + (f"{_ANY}{{{left}}}" if left else "")


def _up_to(count: int) -> str:
    """One way to match every length, for a pattern that leaves a choice takes far longer to compile."""
    if count <= _MAX_REPETITION:
        return f"{_ANY}{{0,{count}}}"
    fewer = f"{_ANY}{{0,{_MAX_REPETITION - 1}}}"
    return f"(?:{fewer}|{_exactly(_MAX_REPETITION)}{_up_to(count - _MAX_REPETITION)})"
