"""How two JSON documents differ, in the words of one who reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

_LONGEST = 120


_NOTHING = object()


def differences(there: Any, wanted: Any, at: str = "") -> Iterator[str]:
    """What of `wanted` is not so `there`, a line each: the path, and both values. What only `there` has, such as ids
    and defaults that a server adds, is no difference; but lists have to be as long."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        for key, value in cast("dict[str, Any]", wanted).items():
            yield from differences(
                cast("dict[str, Any]", there).get(key, _NOTHING), value, f"{at}.{key}" if at else key
            )
    elif isinstance(wanted, list) and isinstance(there, list):
        before, after = cast("list[Any]", there), cast("list[Any]", wanted)
        for index in range(max(len(before), len(after))):
            old = before[index] if index < len(before) else _NOTHING
            new = after[index] if index < len(after) else _NOTHING
            yield from differences(old, new, f"{at}[{index}]")
    elif there != wanted:
        yield f"{at}: {_short(there)} -> {_short(wanted)}"


def _short(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
