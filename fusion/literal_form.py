"""JSON and code without what says nothing: the order of keys, and white space where a language does not mind it."""

from __future__ import annotations

import json
import re
from typing import Any, cast

# Languages in which white space inside of a line only parts words. In a shell, YAML or a makefile it does more.
_FREE_SPACING = frozenset(
    name
    for names in (
        ("python", "py", "python3", "javascript", "js", "typescript", "ts", "java", "kotlin", "swift", "scala", "sql"),
        ("c", "cpp", "c++", "cs", "csharp", "c#", "go", "rust", "rs"),
    )
    for name in names
)
_PIECE = re.compile(r"\w+|[-+*/%=<>&|^!~:?@.]+|\S")
# A line with one of these may hold a text, a pattern or a macro, in which white space counts.
_VERBATIM = re.compile(r"[\"'`\\#$]|/.*/")
_MANY_LINES = re.compile(r"\"\"\"|'''|`|/\*|--\[\[|<<")


class _Numeral(str):
    """A JSON number as it was written: 1 and 1.0 are not told to be equal, nor are large ones rounded."""

    __slots__ = ()


def json_key(text: str) -> str | None:
    """An object or array as JSON with its keys in order; None for anything else, and where a key occurs twice."""
    try:
        value = json.loads(
            text, parse_int=_Numeral, parse_float=_Numeral, parse_constant=_refused, object_pairs_hook=_distinct
        )
        return _written(value) if isinstance(value, dict | list) else None
    except (ValueError, RecursionError):
        return None


def code_key(code: str, language: str) -> str:
    """Code with the same lines, indented as deep. White space inside of a line is folded for languages that do not mind
    it, on lines that hold no text of their own."""
    lines = [line.rstrip() for line in code.replace("\r\n", "\n").split("\n")]
    if _MANY_LINES.search(code) or language not in _FREE_SPACING:
        return "\n".join(lines).strip("\n")
    depths = [0]
    folded: list[str] = []
    for line in lines:
        said = line.lstrip()
        if not said:
            continue
        indent = len(line.expandtabs(8)) - len(said.expandtabs(8))
        while indent < depths[-1]:
            depths.pop()
        if indent > depths[-1]:
            depths.append(indent)
        text = said if _VERBATIM.search(said) else " ".join(_PIECE.findall(said))
        folded.append(f"{len(depths) - 1}:{text}")
    return "\n".join(folded)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return "{" + ",".join(f"{json.dumps(key)}:{_written(members[key])}" for key in sorted(members)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, cast("list[Any]", value))) + "]"
    return str(value) if isinstance(value, _Numeral) else json.dumps(value)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refused(constant: str) -> str:
    raise ValueError(constant)
