"""The shape of the three packages: which way imports go, how large modules are, and what folders say of themselves."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MAX_ARROWS = {"fusion": 100, "deployments": 25, "cluster": 12}
"""How many imports there may be between the places (modules and folders) at the top of each package."""


MAX_LINES = 400
MEDIAN_LINES = range(80, 151)

Imports = Mapping[str, set[str]]


@pytest.fixture(scope="module")
def imports() -> Imports:
    """Every module with the modules that it imports, type checking's imports included."""
    graph = grimp.build_graph(*MAX_ARROWS, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def places(imports: Imports, package: str) -> dict[str, set[str]]:
    """The places at the top of a package, each with those that it imports."""
    found: dict[str, set[str]] = {}
    for module, imported in imports.items():
        if module.startswith(f"{package}."):
            here = module.split(".")[1]
            inside = {other.split(".")[1] for other in imported if other.startswith(f"{package}.")}
            found.setdefault(here, set()).update(inside - {here})
    return found


def circle(imports: Imports) -> list[str] | None:
    """The members of a circle of imports, None when there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def sources(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def private_imports(source: Path) -> Iterator[str]:
    """The private names that a file imports from the project's modules."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MAX_ARROWS:
            for name in [*(node.module or "").split("."), *(alias.name for alias in node.names)]:
                if name.startswith("_") and not name.startswith("__"):
                    yield f"{source.relative_to(ROOT)}: {name}"


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_no_module_imports_itself_in_a_circle(imports: Imports) -> None:
    assert len(imports) > 150
    assert circle(imports) is None


@pytest.mark.parametrize("package", MAX_ARROWS)
def test_no_circle_and_few_arrows_between_the_places_of_a_package(package: str, imports: Imports) -> None:
    between = places(imports, package)
    assert circle(between) is None
    arrows = sum(map(len, between.values()))
    assert 0 < arrows <= MAX_ARROWS[package]


@pytest.mark.parametrize("package", MAX_ARROWS)
def test_no_private_name_is_imported_from_another_module(package: str) -> None:
    assert [name for source in sources(package) for name in private_imports(source)] == []


def test_modules_fit_on_a_few_screens() -> None:
    lines = {
        source.relative_to(ROOT): len(source.read_text(encoding="utf-8").splitlines())
        for package in MAX_ARROWS
        for source in sources(package)
        if source.name != "__init__.py"
    }
    assert {module: length for module, length in lines.items() if length > MAX_LINES} == {}
    assert statistics.median_low(lines.values()) in MEDIAN_LINES


@pytest.mark.parametrize(
    "folder",
    [source.parent for package in MAX_ARROWS for source in sources(package) if source.name == "__init__.py"],
    ids=lambda folder: str(folder.relative_to(ROOT)),
)
def test_a_folder_says_what_it_is_for_and_names_one_of_its_modules(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = {name for names in re.findall(r"`([\w.]+)`", said) for name in names.split(".")}
    inside = {entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()}
    assert named & inside - {"__init__"}
