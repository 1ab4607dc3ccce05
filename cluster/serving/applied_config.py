"""The configuration that a Ray cluster serves, stored in the cluster itself."""

from __future__ import annotations

from pydantic import ValidationError

from cluster.config.schema import ClusterConfig
from cluster.serving import ray_private

_KEY = b"configuration"


_NAMESPACE = b"fusion-cluster"


def save(config: ClusterConfig) -> None:
    """Stores the configuration that the connected cluster serves. It names keys and contains none."""
    ray_private.put(_KEY, config.model_dump_json().encode(), _NAMESPACE)


def load() -> ClusterConfig | None:
    """Returns the configuration that the connected cluster serves; None if there is none, or if another release of this
    project stored one that this release cannot read."""
    stored = ray_private.get(_KEY, _NAMESPACE)
    try:
        return None if stored is None else ClusterConfig.model_validate_json(stored)
    except ValidationError:
        return None
