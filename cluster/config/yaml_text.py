"""Writes YAML for people: keys in the given order, and texts of several lines as blocks."""

from __future__ import annotations

from typing import Any, cast

import yaml


class _Dumper(yaml.SafeDumper):
    """A dumper with a representer of its own, so that other users of YAML in the process keep theirs."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    scalar: Any = cast("Any", dumper).represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)
    return scalar


_Dumper.add_representer(str, _represent_text)


def dump_yaml(document: dict[str, Any]) -> str:
    """Returns the document as YAML."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
