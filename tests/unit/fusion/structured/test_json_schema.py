"""Schemas that values are checked against, and those that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from fusion.structured.json_schema import BadSchema, compile_schema, follows


@pytest.mark.parametrize(
    "schema",
    [{"type": "nothing"}, {"$ref": "https://example.com/schema"}, {"type": "string", "pattern": "(?=a)b"}],
)
def test_schemas_that_cannot_be_held_to(schema: dict[str, Any]) -> None:
    with pytest.raises(BadSchema):
        compile_schema(schema)


def test_a_pattern_takes_linear_time() -> None:
    validator = compile_schema({"type": "string", "pattern": "^(a+)+$"})
    assert not follows(validator, "a" * 50_000 + "b")
