"""Which deployments a changed configuration restarts: those whose version is another one.

Serve gives every deployment a new version each time an application is deployed, and so starts all of its replicas anew.
Here a version is a digest of what a deployment's replicas are made from, so that what did not change runs on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, cast

from cluster.serving.ray_private import outermost_deployment

if TYPE_CHECKING:
    from ray.serve import Application

DISTRIBUTION = "fusion-cluster"


def fingerprint(*values: object) -> str:
    """A digest of values: equal ones have equal digests in every process and on every machine. Another release of this
    project has other digests, for its replicas run other code.

    Raises:
        TypeError: something is neither a plain value, a container nor a dataclass.
    """
    plain = [installed_version(DISTRIBUTION), *map(_plain, values)]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def deployment_name(app: Application) -> str:
    """The name of the application's outermost deployment."""
    return outermost_deployment(app).name


def runs_as(app: Application, other: Application) -> bool:
    """Whether the outermost deployments of two applications are one and the same to Serve: name, version, and what
    reaches running replicas."""
    one, two = outermost_deployment(app), outermost_deployment(other)
    return (one.name, one.version, one.user_config) == (two.name, two.version, two.user_config)


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, {each.name: _plain(getattr(value, each.name)) for each in fields(value)}]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, AbstractSet):
        return sorted(map(_plain, cast("AbstractSet[object]", value)), key=str)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[object]", value)]
    raise TypeError(f"a {type(value).__name__} has no fingerprint")
