"""JSON schemas as Anthropic's structured outputs take them.

They know a part of JSON Schema and refuse the rest. As in Anthropic's own SDKs, what they do not know is put into the
description, which the model reads although nothing enforces it, and objects are closed.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import to_json

_KEPT = frozenset({"type", "enum", "const", "title", "description", "default", "required"})


_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "examples"})


_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})


class UnclosableObject(Exception):
    """A schema allows properties that it does not name."""


def closed_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the part of JSON Schema that is known.

    Raises:
        UnclosableObject: an object's properties are not all named, and closing it would leave none.
    """
    if "$ref" in schema:
        kept: dict[str, Any] = {"$ref": schema["$ref"]}
        return kept | _definitions(schema)
    kept = {name: value for name, value in schema.items() if name in _KEPT} | _definitions(schema)
    unknown: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties" and isinstance(value, dict):
            kept[name] = _closed_values(cast("dict[str, Any]", value))
        elif name in ("anyOf", "allOf", "oneOf") and isinstance(value, list):
            kept["anyOf" if name == "oneOf" else name] = [_closed(entry) for entry in cast("list[Any]", value)]
        elif name == "items" and isinstance(value, dict):
            kept[name] = _closed(cast("object", value))
        elif (name == "format" and str(value) in _FORMATS) or (name == "minItems" and value in (0, 1)):
            kept[name] = value
        elif name not in _KEPT | _ANNOTATIONS | {"$defs", "definitions", "additionalProperties"}:
            unknown[name] = value
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") not in (None, False) and not schema.get("properties"):
            raise UnclosableObject
        if isinstance(schema.get("additionalProperties"), dict):
            raise UnclosableObject
        kept["additionalProperties"] = False
    if unknown:
        note = to_json(unknown).decode()
        kept["description"] = f"{kept['description']}\n\n{note}" if "description" in kept else note
    return kept


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: schema[name] for name in ("$defs", "definitions") if isinstance(schema.get(name), dict)}
    return {name: _closed_values(value) for name, value in found.items()}


def _closed_values(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _closed(schema) for name, schema in schemas.items()}


def _closed(schema: object) -> object:
    return closed_schema(cast("dict[str, Any]", schema)) if isinstance(schema, dict) else schema
