"""Every key of the configuration is explained: in a docstring under its field, and in docs/configuration.md."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from cluster.config.schema import ClusterConfig

DOCS = (Path(__file__).parents[4] / "docs" / "configuration.md").read_text(encoding="utf-8")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(annotation):
        yield from models(part)


MODELS = sorted(set(models(ClusterConfig)) - {ClusterConfig}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_has_a_docstring_and_stands_in_the_docs(model: type[BaseModel]) -> None:
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    for field, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name = field.target.id
        annotation = model.model_fields[name].annotation
        assert re.search(rf"(`|\.){name}`", DOCS) or re.search(rf"`{name}\.", DOCS) or f"{name}: " in DOCS, name
        explains_itself = next(models(annotation), None) is not None or name in ("kind", "name")
        is_docstring = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        assert is_docstring or explains_itself, f"{model.__name__}.{name}"
