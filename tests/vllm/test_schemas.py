"""The grammar that an engine makes of an answer's schema lets through what JSON allows, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import xgrammar
from xgrammar.testing import _is_grammar_accept_string  # the only way to put a grammar to a text

from deployments.vllm.json_schema import MAX_BOUND, lengths_as_patterns
from fusion.judging.verdict import verdict_schema

_BOUNDED = {"type": "string", "maxLength": 5}


def _accepts(schema: Any, text: str) -> bool:
    grammar = xgrammar.Grammar.from_json_schema(json.dumps(schema), any_whitespace=False, separators=(",", ":"))
    return _is_grammar_accept_string(grammar, text)


@pytest.mark.parametrize("character", [*map(chr, range(32)), '"', "\\"])
def test_no_bounded_string_holds_what_json_does_not(character: str) -> None:
    assert not _accepts(lengths_as_patterns(_BOUNDED), f'"a{character}b"')


def test_xgrammar_still_needs_to_be_told() -> None:
    """When this fails, `lengths_as_patterns` has had its time."""
    assert _accepts(_BOUNDED, '"a\x1cb"')


@pytest.mark.parametrize(
    ("bounds", "shortest", "longest"),
    [
        ({"maxLength": 0}, 0, 0),
        ({"maxLength": 3}, 0, 3),
        ({"minLength": 2}, 2, None),
        ({"minLength": 2, "maxLength": 2}, 2, 2),
        ({"maxLength": 128}, 0, 128),
        ({"maxLength": 129}, 0, 129),
        ({"maxLength": 300}, 0, 300),
        ({"minLength": 200, "maxLength": 300}, 200, 300),
    ],
)
def test_bounds_stay_what_they_were(bounds: dict[str, int], shortest: int, longest: int | None) -> None:
    schema = lengths_as_patterns({"type": "string", **bounds})
    assert "pattern" in schema
    for length in {0, 1, 2, 3, 4, 127, 128, 129, shortest, max(0, shortest - 1), longest or 500, (longest or 500) + 1}:
        fits = length >= shortest and (longest is None or length <= longest)
        assert _accepts(schema, json.dumps("é" * length, ensure_ascii=False)) == fits


def test_bounds_are_found_wherever_they_are_and_values_are_left_alone() -> None:
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "array", "items": {"anyOf": [_BOUNDED, {"type": "null"}]}},
            "maxLength": {"const": _BOUNDED},
            "said": {"type": "string", "maxLength": 5, "pattern": "^x"},
        },
        "enum": [_BOUNDED],
    }
    pattern = {"type": "string", "pattern": r"^[\s\S]{0,5}$"}
    properties = {**schema["properties"], "type": {"type": "array", "items": {"anyOf": [pattern, {"type": "null"}]}}}
    assert lengths_as_patterns(schema) == {**schema, "properties": properties}
    assert lengths_as_patterns(lengths_as_patterns(schema)) == lengths_as_patterns(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "minLength": 0},
        {"type": "string", "maxLength": MAX_BOUND + 1},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "string", "maxLength": "many"},
        {"type": "array", "maxLength": 2},
        True,
    ],
)
def test_what_is_no_bound_that_can_be_written_so_stays(schema: object) -> None:
    assert lengths_as_patterns(schema) == schema


def test_the_longest_bound_and_a_verdict_can_be_compiled() -> None:
    """Xgrammar refuses some patterns only then, in the engine, in the middle of an answer."""
    letters = xgrammar.TokenizerInfo([chr(code) for code in range(32, 127)] + ["</s>"], stop_token_ids=[95])
    compiler = xgrammar.GrammarCompiler(letters)
    for schema in ({"type": "string", "maxLength": MAX_BOUND}, verdict_schema(["A", "B"]).schema):
        compiler.compile_json_schema(json.dumps(lengths_as_patterns(schema)), any_whitespace=False)


@pytest.mark.parametrize("score", [-1, 11, 99, 1.5, "5", None])
def test_a_verdicts_scores_are_whole_and_between_their_bounds(score: object) -> None:
    schema = lengths_as_patterns(verdict_schema(["A"]).schema)
    assert _accepts(schema, '{"reason":"so","scores":{"A":10}}')
    assert not _accepts(schema, f'{{"reason":"so","scores":{{"A":{json.dumps(score)}}}}}')
    assert not _accepts(schema, '{"reason":"so","scores":{"A":10,"B":1}}')
