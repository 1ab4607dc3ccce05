"""Checks JSON values against a client's schema.

It is done by `jsonschema`, which fetches nothing here. Patterns are tried by pydantic-core's Rust expressions:
Python's own would let a client's pattern and a member's text stop the process (docs/decisions/0051-json-by-field.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from jsonschema import validators
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema

MAX_SCHEMA_CHARS = 200_000


_VALIDATORS: Any = validators  # typed in part


_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


class BadSchema(ValueError):
    """A JSON schema is not valid, or values cannot be checked against it safely."""


def compile_schema(schema: Mapping[str, Any]) -> Validator:
    """Compile a JSON schema; an empty one asks for any object. The last 128 are kept.

    Raises:
        BadSchema: it is not a JSON schema, refers to another document, or has a pattern with look-around or
            back-references.
    """
    written = json.dumps(schema or _ANY_OBJECT, sort_keys=True)
    if len(written) > MAX_SCHEMA_CHARS:
        raise BadSchema(f"a schema may have {MAX_SCHEMA_CHARS} characters")
    return _compiled(written)


def follows(validator: Validator, value: Any) -> bool:
    """Whether a value follows a compiled schema."""
    try:
        return bool(validator.is_valid(value))
    except Exception:  # a reference that leads nowhere, or too deep
        return False


@lru_cache(maxsize=128)
def _compiled(written: str) -> Validator:
    schema = json.loads(written)
    base: Any = _VALIDATORS.validator_for(schema)
    try:
        base.check_schema(schema)
        for pattern in _patterns(schema):
            _matcher(pattern)
    except (SchemaError, PatternError, RecursionError):
        raise BadSchema("the schema is no JSON schema, or has a pattern that cannot be tried safely") from None
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise BadSchema("the schema refers to another document")
    kind: Any = _VALIDATORS.extend(base, {"pattern": _pattern, "patternProperties": _pattern_properties})
    return cast("Validator", kind(schema, registry=REGISTRY))


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matcher(pattern).isinstance_python(instance):
        yield ValidationError("a text does not match its pattern")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        matcher = _matcher(pattern)
        for key, value in cast("dict[str, Any]", instance).items():
            if matcher.isinstance_python(key):
                yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _patterns(schema: Any) -> Iterator[str]:
    for name, value in _keywords(schema):
        if name == "pattern" and isinstance(value, str):
            yield value
        elif name == "patternProperties" and isinstance(value, dict):
            yield from cast("dict[str, Any]", value)


def _references(schema: Any) -> Iterator[str]:
    for name, value in _keywords(schema):
        if name in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
            yield value


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every name and value in a schema, at any depth."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for name, value in cast("dict[str, Any]", part).items():
                yield name, value
                waiting.append(value)
        elif isinstance(part, list):
            waiting += cast("list[Any]", part)
