"""pydantic's errors as paths in the document, whatever model and whatever depth they are at."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.config.schema import ClusterConfig
from deployments.api.chat_schema import ChatBody
from deployments.api.openrouter import FusionSettings
from deployments.api.validation_errors import FieldError, dotted, field_errors

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "stream_options": {"include_usage": True},
    "fusion": {"mode": "merge", "panel": ["ada"], "judge": ["ada"], "rubric": {"correct": 3}},
    "reasoning": {"effort": "low"},
    "usage": {"include": True},
}
SETTINGS: dict[str, Any] = {"analysis_models": ["a"], "reasoning": {"effort": "low"}}
CONFIG: dict[str, Any] = {
    "backends": {
        "engine": {"kind": "vllm", "model": "m", "accelerator": "cpu", "replicas": {"min": 1, "max": 2}},
        "api": {"kind": "remote", "base_url": "https://example.org/v1", "timeouts": {"connect_s": 1}},
    },
    "members": {"ada": {"backend": "api", "model": "a", "price": {"input_per_mtok": 1, "output_per_mtok": 2}}},
    "presets": {"fusion/merge": {"mode": "merge", "panel": ["ada"], "judge": "ada"}},
    "server": {"port": 8000},
}
DOCUMENTS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (ChatBody, CHAT),
    (FusionSettings, SETTINGS),
    (ClusterConfig, CONFIG),
]
FREE = {"parameters", "schema", "rubric", "backends", "members", "presets"}
"""Objects whose names are anyone's."""


def objects_in(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all objects whose fields a model defines."""
    if isinstance(document, dict):
        if not path or path[-1] not in FREE:
            yield path
        for name, value in document.items():
            yield from objects_in(value, (*path, name))
    if isinstance(document, list):
        for index, value in enumerate(document):
            yield from objects_in(value, (*path, index))


def errors_of(model: type[BaseModel], document: Mapping[str, Any]) -> list[FieldError]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return field_errors(caught.value, model)


PLACES = [(model, document, path) for model, document in DOCUMENTS for path in objects_in(document)]
IDS = [f"{model.__name__}:{dotted(path)}" for model, _, path in PLACES]


@pytest.mark.parametrize(("model", "document"), DOCUMENTS)
def test_the_documents_are_valid(model: type[BaseModel], document: dict[str, Any]) -> None:
    model.model_validate(document)


@pytest.mark.parametrize(("model", "document", "path"), PLACES, ids=IDS)
def test_an_unknown_field_has_its_path_and_a_near_one(
    model: type[BaseModel], document: dict[str, Any], path: tuple[str | int, ...]
) -> None:
    whole = copy.deepcopy(document)
    owner: Any = whole
    for part in path:
        owner = owner[part]
    name = max(owner, key=len)
    misspelled = name[:-1] + "_" + name[-1:]
    owner[misspelled] = 1
    (error,) = errors_of(model, whole)
    assert error.path == (*path, misspelled)
    assert error.message == f"unknown field; did you mean {name}?"


@pytest.mark.parametrize(("model", "document", "path"), PLACES, ids=IDS)
def test_a_value_of_another_type_has_its_path(
    model: type[BaseModel], document: dict[str, Any], path: tuple[str | int, ...]
) -> None:
    """Whatever pydantic names the branches that it tried, every path is one of the document."""
    if not path:
        return
    for value in (1.5, "nonsense", [], None):
        whole = copy.deepcopy(document)
        owner: Any = whole
        for part in path[:-1]:
            owner = owner[part]
        owner[path[-1]] = value
        try:
            model.model_validate(whole)
        except ValidationError as raised:
            for error in field_errors(raised, model):
                assert error.path[: len(path)] == path or path[: len(error.path)] == error.path
                assert not re.search(r"Body|Config|function-|constrained|literal|tagged|list\[", dotted(error.path))


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"fusion": {"straggler_grace": float("nan")}}, "fusion.straggler_grace", "greater than or equal to 0"),
        ({"fusion": {"straggler_grace": "soon"}}, "fusion.straggler_grace", "valid number"),
        ({"fusion": {"judge": ["ada", 1]}}, "fusion.judge[1]", "valid string"),
        ({"fusion": {"rubric": {"": 1}}}, "fusion.rubric.", "at least 1 character"),
        ({"fusion": {"rubric": {"brief": -1}}}, "fusion.rubric.brief", "greater than 0"),
        ({"fusion": {"include": ["all"]}}, "fusion.include[0]", "'candidates', 'events'"),
        ({"tool_choice": "sometimes"}, "tool_choice", "'none', 'auto' or 'required'"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "this field is required"),
        ({"messages": [{"role": "user", "content": [{"text": "?"}]}]}, "messages[0].content[0]", "type is required"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "required"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "a message of the role user needs content"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "this field is required"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
            "required",
        ),
    ],
)
def test_places_that_pydantic_names_by_branches(changes: dict[str, Any], path: str, message: str) -> None:
    (error,) = errors_of(ChatBody, CHAT | changes)
    assert dotted(error.path) == path
    assert message in error.message


def test_a_field_that_is_near_none_is_answered_with_those_there_are() -> None:
    (error,) = errors_of(ChatBody, CHAT | {"usage": {"zzz": 1}})
    assert error.message == "unknown field; known are include"
    (error,) = errors_of(ChatBody, CHAT | {"zzz": 1})
    assert error.message == "unknown field"  # there are too many


class _Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")
    leaf: int


class _Tree(BaseModel):
    """Contains itself, and models behind validators in unions without a tag."""

    model_config = ConfigDict(extra="forbid")
    name: str
    kind: Literal["tree"] = "tree"
    children: list[_Tree] = []
    by_name: dict[str, Annotated[_Leaf | tuple[int, _Leaf], Field()]] = {}

    @model_validator(mode="after")
    def _named(self) -> _Tree:
        if not self.name:
            raise ValueError("a tree needs a name")
        return self


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"name": "a", "children": [{"name": "b", "childen": []}]}, "children[0].childen", "did you mean children?"),
        ({"name": "a", "children": [{"name": ""}]}, "children[0]", "a tree needs a name"),
        ({"name": "a", "by_name": {"x": {"leaf": 1, "leav": 1}}}, "by_name.x.leav", "did you mean leaf?"),
        ({"name": "a", "by_name": {"x": (1, {"leaf": "?"})}}, "by_name.x[1].leaf", "valid integer"),
        ({"name": "a", "kind": "bush"}, "kind", "'tree'"),
    ],
)
def test_models_of_every_form(document: dict[str, Any], path: str, message: str) -> None:
    (error,) = errors_of(_Tree, document)
    assert dotted(error.path) == path
    assert message in error.message
