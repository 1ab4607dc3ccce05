"""JSON that a model wrote: read without trust, compared by value, checked against a schema.

Schemas are checked by `jsonschema`, which fetches nothing here. Patterns are tried by pydantic-core's Rust expressions:
Python's own would let a client's pattern and a member's text stop the process (docs/decisions/0051-json-by-field.md).
"""

from __future__ import annotations

import json
import math
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


class NotJson(ValueError):
    """A text is not one JSON document."""


class BadSchema(ValueError):
    """A JSON schema is not one, or cannot be held to here."""


def read_json(text: str) -> Any:
    """The document that a text is.

    Raises:
        NotJson: it is none, or holds what JSON has no word for, such as NaN or a number too large to compute with.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NotJson("the text is not JSON") from None
    if _has_infinity(value):
        raise NotJson("a number is too large")
    return value


def write_json(value: Any) -> str:
    """The JSON text of a value, in characters where they can be written, and escaped where not."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # halves of characters
        return json.dumps(value)
    return text


def canonical(value: Any) -> str:
    """A text that is the same for equal values: whatever the order of keys, and `1` for `1.0`, but not for `true`."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def checker(schema: Mapping[str, Any]) -> Validator:
    """What tells whether values follow a schema; an empty one asks for any object.

    Raises:
        BadSchema: it is no JSON schema, refers to another document, or has a pattern with look-around or
            back-references.
    """
    written = json.dumps(schema or _ANY_OBJECT, sort_keys=True)
    if len(written) > MAX_SCHEMA_CHARS:
        raise BadSchema(f"a schema may have {MAX_SCHEMA_CHARS} characters")
    return _checker(written)


def follows(validator: Validator, value: Any) -> bool:
    """Whether a value follows the validator's schema."""
    try:
        return bool(validator.is_valid(value))
    except Exception:  # a reference that leads nowhere, or too deep
        return False


@lru_cache(maxsize=128)
def _checker(written: str) -> Validator:
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


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _has_infinity(value: Any) -> bool:
    return any(isinstance(part, float) and not math.isfinite(part) for part in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += cast("dict[str, Any]", part).values()
        elif isinstance(part, list):
            waiting += cast("list[Any]", part)
        else:
            yield part


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(part) for part in cast("list[Any]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
