"""Turns pydantic's errors into paths in the document and messages with a suggestion.

The location of a pydantic error names the branches of unions that were tried (`str`, `ToolChoiceBody`,
`function-after[…]`), which are not in the document. Walking the model's core schema along the location tells them from
fields, and finds the model that an unknown field was given to.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ValidationError

from fusion.errors import InvalidRequest

Path = tuple[str | int, ...]

_MAX_LISTED = 30
"""How many known names a message lists when none of them is near."""

_Node = Mapping[str, Any]
"""A part of a core schema (`pydantic_core.core_schema`)."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong at one place of a document."""

    path: Path
    message: str


def field_errors(
    error: ValidationError, model: type[BaseModel], noun: Literal["field", "key"] = "field"
) -> list[FieldError]:
    """Translates the errors of validating a document by `model`, in pydantic's order, one for each path.

    Where no branch of a union fits, the errors of the branch that got furthest are kept: it is the one that was meant.
    `noun` is what messages call a field.
    """
    schema = _Schema(model)
    found: dict[Path, FieldError] = {}
    furthest: dict[Path, int] = {}
    translated: list[tuple[FieldError, Path | None]] = []
    for detail in error.errors(include_url=False, include_input=False):
        field_error, union = schema.translate(cast("Mapping[str, Any]", detail), noun)
        translated.append((field_error, union))
        if union is not None:
            furthest[union] = max(furthest.get(union, 0), len(field_error.path))
    for field_error, union in translated:
        if union is None or len(field_error.path) == furthest[union]:
            found.setdefault(field_error.path, field_error)
    return list(found.values())


def dotted(path: Sequence[str | int]) -> str:
    """Writes a path as `messages[0].content`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def invalid_field(error: FieldError, within: Path = ()) -> InvalidRequest:
    """Returns the error that a client is answered with. `within` is where the validated document is in the body."""
    param = dotted((*within, *error.path))
    return InvalidRequest(f"{param or 'the body'}: {error.message}", param=param or None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a location leads: the path in the document, the schema there, the path of the first union on the way, and
    how many parts of the location the schema does not explain."""

    path: Path
    node: _Node
    union: Path | None
    unexplained: int


class _Schema:
    """Follows locations through a model's core schema."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._root = cast("_Node", model.__pydantic_core_schema__)
        self._definitions: dict[str, _Node] = {}

    def translate(self, detail: Mapping[str, Any], noun: str) -> tuple[FieldError, Path | None]:
        """Translates one error. Also returns the path of the union whose branches were tried, None without one."""
        location: Path = detail["loc"]
        message = str(detail["msg"]).removeprefix("Value error, ")
        is_unknown = detail["type"] == "extra_forbidden"
        place = self._find(location[:-1] if is_unknown else location)
        path = (*place.path, location[-1]) if is_unknown else place.path
        if is_unknown:
            message = f"unknown {noun}{_suggestion(str(location[-1]), self._field_names(place.node))}"
        elif detail["type"] == "missing":
            message = f"this {noun} is required"
        elif detail["type"] == "union_tag_not_found" and (tagged := self._tagged_union(place.node)):
            message = f"{tagged['discriminator']} is required: {' or '.join(map(str, tagged['choices']))}"
        return FieldError(path, message), place.union

    def _find(self, location: Path) -> _Place:
        return min(self._places(self._root, location, (), None), key=lambda place: place.unexplained)

    def _places(self, node: _Node, location: Path, path: Path, union: Path | None) -> Iterator[_Place]:
        """Yields the places that a location may mean, several where the name does not tell a union's branch."""
        inner = self._inner(node)
        if inner is not None:
            for below in inner:
                yield from self._places(below, location, path, union)
            return
        if not location:
            yield _Place(path, node, union, 0)
            return
        part, rest = location[0], location[1:]
        if node["type"] == "union":
            for choice in sorted(_choices(node), key=lambda choice: self._name(choice) not in str(part)):
                yield from self._places(choice, rest, path, path if union is None else union)
            return
        if node["type"] == "tagged-union" and part in node["choices"]:
            yield from self._places(node["choices"][part], rest, path, union)
            return
        below = _child(node, part)
        if below is None:
            yield _Place(path, node, union, len(location))
        elif node["type"] == "dict" and rest[:1] == ("[key]",):
            yield _Place((*path, part), node, union, 0)
        else:
            yield from self._places(below, rest, (*path, part), union)

    def _inner(self, node: _Node) -> list[_Node] | None:
        """The schemas that a node wraps without adding to locations, None when it is not a wrapper."""
        match node["type"]:
            case "definitions":
                self._definitions |= {each["ref"]: each for each in node["definitions"]}
                return [node["schema"]]
            case "definition-ref":
                return [self._definitions[node["schema_ref"]]]
            case "json-or-python":
                return [node["json_schema"], node["python_schema"]]
            case "lax-or-strict":
                return [node["lax_schema"], node["strict_schema"]]
            case "chain":
                return list(node["steps"])
            case "union" if len(node["choices"]) == 1:
                return _choices(node)
            case "model" | "default" | "nullable" | "function-after" | "function-before" | "function-wrap":
                return [node["schema"]]
            case _:
                return None

    def _leaves(self, node: _Node) -> Iterator[_Node]:
        """Yields what a node is when its wrappers and unions are taken off."""
        inner = _choices(node) if node["type"] == "union" else self._inner(node)
        if inner is None:
            yield node
        for below in inner or ():
            yield from self._leaves(below)

    def _field_names(self, node: _Node) -> list[str]:
        models = [leaf for leaf in self._leaves(node) if leaf["type"] == "model-fields"]
        return [_key(name, field) for leaf in models for name, field in leaf["fields"].items()]

    def _tagged_union(self, node: _Node) -> _Node | None:
        unions = (leaf for leaf in self._leaves(node) if leaf["type"] == "tagged-union")
        return next((leaf for leaf in unions if isinstance(leaf["discriminator"], str)), None)

    def _name(self, node: _Node) -> str:
        """What pydantic's name for a union's branch has in it."""
        while node["type"] != "model" and (inner := self._inner(node)):
            node = inner[0]
        return node["cls"].__name__ if node["type"] == "model" else node["type"]


def _choices(union: _Node) -> list[_Node]:
    """The branches of a union, without the labels that some have."""
    choices: list[Any] = union["choices"]
    return [cast("_Node", choice[0] if isinstance(choice, tuple) else choice) for choice in choices]


def _child(node: _Node, part: str | int) -> _Node | None:
    """The schema of a node's field, item or value, None when it has no such part."""
    match node["type"]:
        case "model-fields":
            named = (field["schema"] for name, field in node["fields"].items() if _key(name, field) == part)
            return next(named, None)
        case "dict":
            return node.get("values_schema", _ANY)
        case "list" | "set" | "frozenset" if isinstance(part, int):
            return node.get("items_schema", _ANY)
        case "tuple" if isinstance(part, int):
            items: Sequence[_Node] = node["items_schema"]
            return items[min(part, len(items) - 1)] if items else None
        case _:
            return None


_ANY: _Node = {"type": "any"}


def _key(name: str, field: _Node) -> str:
    """The name of a field in documents."""
    alias = field.get("validation_alias")
    return alias if isinstance(alias, str) else name


def _suggestion(name: str, known: Sequence[str]) -> str:
    if near := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known)}" if 0 < len(known) <= _MAX_LISTED else ""
