"""What a Ray cluster serves now: the configuration that was brought about last, kept with the cluster itself."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from ray.experimental import internal_kv

from cluster.config.schema import ClusterConfig

_KEY = b"configuration"


_NAMESPACE = b"fusion-cluster"


_kv: Any = internal_kv


def remember(config: ClusterConfig) -> None:
    """Keep this as the configuration that is served. It names keys and holds none."""
    _kv._internal_kv_put(_KEY, config.model_dump_json().encode(), overwrite=True, namespace=_NAMESPACE)


def recall() -> ClusterConfig | None:
    """The configuration that is served, None when there is none or another release wrote it."""
    kept: bytes | None = _kv._internal_kv_get(_KEY, namespace=_NAMESPACE)
    try:
        return None if kept is None else ClusterConfig.model_validate_json(kept)
    except ValidationError:
        return None
