"""Reads configuration files and reports every error with its line, its key and what was expected."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from cluster.config.backends import RemoteBackendConfig
from cluster.config.base import Location
from cluster.config.cross_field import cross_field_errors
from cluster.config.former_keys import FORMER_KEYS, former_keys_in, notice, with_current_keys
from cluster.config.kubernetes import kubernetes_errors
from cluster.config.schema import ClusterConfig
from deployments.api.validation_errors import dotted, field_errors

_log = logging.getLogger(__name__)


_SHIPPED = Path(__file__).parent / "shipped"


EMBEDDED = _SHIPPED / "embedded.yaml"
"""The shipped configuration that needs neither a GPU nor a key."""


def shipped() -> dict[str, Path]:
    """Returns the files of the shipped configurations by name."""
    return {file.stem: file for file in sorted(_SHIPPED.glob("*.yaml"))}


def named(name: Path | None) -> Path:
    """Returns the file for a path or the name of a shipped configuration; the embedded one for None."""
    if name is None:
        return EMBEDDED
    return name if name.exists() else shipped().get(str(name), name)


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in a configuration file. Lines and columns count from 1."""

    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(Exception):
    """A configuration is invalid. `problems` are in the order of the file."""

    def __init__(self, file: Path, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__(file, self.problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.file}:{problem}" for problem in self.problems)


def load(file: Path) -> ClusterConfig:
    """The configuration in a YAML file. A key under its former name is accepted, with a warning in the log.

    Raises:
        ConfigError: with every problem that was found.
    """
    document = _parse(file, _read(file))
    for problem in document.notices:
        _log.warning("%s:%s", file, problem)
    try:
        config = ClusterConfig.model_validate(document.value)
    except ValidationError as error:
        found = field_errors(error, ClusterConfig, "key")
        raise ConfigError(file, [document.problem(each.path, each.message) for each in found]) from None
    _refuse(file, document, cross_field_errors(config))
    return config


def check_renderable(file: Path, config: ClusterConfig) -> None:
    """Checks that the configuration works on Kubernetes.

    Raises:
        ConfigError: with every setting that does not.
    """
    _refuse(file, _parse(file, _read(file)), kubernetes_errors(config))


def check_secrets(file: Path, config: ClusterConfig, environ: Mapping[str, str]) -> None:
    """Checks that every key that the configuration names exists.

    Raises:
        ConfigError: with each variable that is unset or empty and each file that is missing.
    """
    document = _parse(file, _read(file))
    variables: list[tuple[Location, str | None]] = [(("server", "api_keys_env"), config.server.api_keys_env)]
    if config.recordings is not None:
        variables.append((("recordings", "hash_key_env"), config.recordings.hash_key_env))
    if config.tracing is not None:
        variables.append((("tracing", "headers_env"), config.tracing.headers_env))
    problems: list[Problem] = []
    for name, backend in config.backends.items():
        if isinstance(backend, RemoteBackendConfig):
            variables.append((("backends", name, "api_key_env"), backend.api_key_env))
            if backend.api_key_file is not None and not Path(backend.api_key_file).is_file():
                where = ("backends", name, "api_key_file")
                problems.append(document.problem(where, f"there is no file {backend.api_key_file}"))
    problems += [
        document.problem(location, f"the environment variable {variable} is unset or empty")
        for location, variable in variables
        if variable is not None and not environ.get(variable, "").strip()
    ]
    if problems:
        raise ConfigError(file, problems)


def _refuse(file: Path, document: _Document, found: Iterable[tuple[Location, str]]) -> None:
    problems = [document.problem(location, message) for location, message in found]
    if problems:
        raise ConfigError(file, problems)


@dataclass(frozen=True, slots=True)
class _Document:
    value: object
    root: yaml.Node
    notices: tuple[Problem, ...] = ()

    def problem(self, location: Location, message: str) -> Problem:
        """Returns a problem at the deepest part of the location that the file has."""
        node, mark = self.root, self.root.start_mark
        for part in location:
            below = _child(node, part)
            if below is None:
                break
            mark, node = below
        return Problem(mark.line + 1, mark.column + 1, dotted(location), message)


class _NoDuplicates(yaml.SafeLoader):
    """Refuses equal keys in a mapping, of which YAML's own loader would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "keys must be strings", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"there is no such file; shipped configurations are {', '.join(shipped())}"
    except IsADirectoryError:
        message = "this is a directory, not a file"
    except UnicodeDecodeError:
        message = "the file is not UTF-8 text"
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
    raise ConfigError(file, [Problem(1, 1, "", message)])


def _parse(file: Path, text: str) -> _Document:
    try:
        loader: Any = _NoDuplicates(text)
        root = loader.get_single_node()
        value = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError(file, [Problem(line, column, "", f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(file, [Problem(1, 1, "", f"not YAML: {error}")]) from None
    if root is None or not isinstance(value, dict):
        what = "the file is empty" if root is None else "the file must hold a mapping"
        raise ConfigError(file, [Problem(1, 1, "", f"{what}: backends, members and presets are needed")])
    return _renamed(file, cast("dict[str, Any]", value), root)


def _renamed(file: Path, value: dict[str, Any], root: yaml.Node) -> _Document:
    """The document under the current names of its keys."""
    former = former_keys_in(value)
    document = _Document(value, root)
    for key in former:
        if (current := FORMER_KEYS[key]) in value:
            both = f"this key stands here twice: {key} is the former name of {current}; give {current} only"
            raise ConfigError(file, [document.problem((name,), both) for name in (key, current)])
    places = {key: document.problem((key,), "") for key in former}
    notices = tuple(Problem(place.line, place.column, "", notice(key)) for key, place in places.items())
    for key_node, _ in root.value:
        key_node.value = FORMER_KEYS.get(key_node.value, key_node.value)
    return _Document(with_current_keys(value), root, notices)


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark, node.value[part]
    return None
