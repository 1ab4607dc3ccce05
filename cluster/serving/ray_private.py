"""Everything in `cluster` that uses private parts of Ray. Written for Ray 2.60; a test names the version.

The functions import Ray when they are called, so that its settings can be put into the environment before.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve import Application


def local_clusters() -> list[str]:
    """Returns the GCS addresses of the Ray clusters that run on this machine."""
    from ray._private import services

    known: Any = services
    return sorted(known.find_gcs_addresses())


def bootstrap_address(address: str) -> str | None:
    """Returns the GCS address, `host:port`, that an address given to Ray stands for; None if there is none."""
    from ray._private import services

    known: Any = services
    return known.canonicalize_bootstrap_address(address)


def session_folder() -> Path | None:
    """Returns the folder of the Ray session that this process is in, None outside of one."""
    from ray._private import worker

    node: Any = worker._global_node  # pyright: ignore[reportPrivateUsage]
    return Path(node.get_session_dir_path()) if node else None


def put(key: bytes, value: bytes, namespace: bytes) -> None:
    """Stores a value in the key-value store of the connected cluster, instead of an earlier one."""
    from ray.experimental import internal_kv

    store: Any = internal_kv
    store._internal_kv_put(key, value, overwrite=True, namespace=namespace)


def get(key: bytes, namespace: bytes) -> bytes | None:
    """Returns a value of the connected cluster's key-value store, None if there is none."""
    from ray.experimental import internal_kv

    store: Any = internal_kv
    return store._internal_kv_get(key, namespace=namespace)


def outermost_deployment(app: Application) -> Any:
    """Returns the `ray.serve.Deployment` at the root of an application, with `name`, `version` and `user_config`."""
    return app._bound_deployment  # pyright: ignore[reportPrivateUsage]


def with_version(app: Application, version: str) -> Application:
    """Returns the application with this version of its outermost deployment: Serve's only way to say that two
    deployments are one and the same."""
    from ray.serve import Application

    return Application(outermost_deployment(app).options(version=version, _internal=True))
