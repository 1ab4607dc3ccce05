"""Renders a configuration for KubeRay, as the `serveConfigV2` of a RayService.

The configuration itself is the argument of the application, so that `fusion serve -c FILE` and the RayService build the
same application from the same file. It names keys and does not contain them: they come from a Secret, as environment
variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from cluster.config.backends import RemoteBackendConfig, VllmBackendConfig
from cluster.config.base import Location, is_loopback
from cluster.config.schema import ClusterConfig
from cluster.config.yaml_text import dump_yaml
from deployments.recordings.settings import is_local

APP_NAME = "fusion"


IMPORT_PATH = "cluster.app:application"


ROUTE_PREFIX = "/"


RAY_SERVICE = "fusion"


MAX_BYTES = 200_000
"""`kubectl apply` stores a copy of the object in an annotation, and annotations are limited to 256 KiB."""


_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def kubernetes_errors(config: ClusterConfig) -> Iterator[tuple[Location, str]]:
    """Yields the location and the description of every setting that does not work in a pod."""
    if is_loopback(config.server.host):
        yield (
            ("server", "host"),
            f"{config.server.host} is not reachable from outside of the pod: use 0.0.0.0 and server.api_keys_env",
        )
    variables: list[tuple[Location, str | None]] = [(("server", "api_keys_env"), config.server.api_keys_env)]
    for name, backend in config.backends.items():
        at = ("backends", name)
        if isinstance(backend, RemoteBackendConfig):
            variables.append(((*at, "api_key_env"), backend.api_key_env))
            if backend.api_key_file is not None and not PurePosixPath(backend.api_key_file).is_absolute():
                yield (
                    (*at, "api_key_file"),
                    f"{backend.api_key_file!r} is relative: give the path at which the Secret is mounted",
                )
            if is_loopback(urlsplit(backend.base_url).hostname or ""):
                yield (*at, "base_url"), "in a pod the loopback address is the pod itself: use the name of a service"
        elif _is_relative_path(backend):
            yield (
                (*at, "model"),
                f"{backend.model!r} is a relative path: use a hub id, or a path in a volume",
            )
    recordings = config.recordings
    for key, path in (("path", recordings.path), ("spool", recordings.spool)) if recordings else ():
        if path is not None and is_local(path) and not PurePosixPath(urlsplit(path).path).is_absolute():
            yield ("recordings", key), f"{path!r} is relative: use an object store's URL, or a path in a volume"
    for location, variable in variables:
        if variable is not None and not _ENV_NAME.fullmatch(variable):
            yield location, f"{variable!r} is not a valid name of an environment variable in a pod"
    size = len(serve_config(config).encode())
    if size > MAX_BYTES:
        yield (), f"the serveConfigV2 has {size} bytes, and `kubectl apply` accepts {MAX_BYTES}"


def serve_config(config: ClusterConfig) -> str:
    """Returns the `serveConfigV2`: Serve's own configuration file, as YAML."""
    return dump_yaml(
        {
            "proxy_location": "EveryNode",
            "http_options": {"host": config.server.host, "port": config.server.port},
            "applications": [
                {
                    "name": APP_NAME,
                    "import_path": IMPORT_PATH,
                    "route_prefix": ROUTE_PREFIX,
                    "args": config.model_dump(mode="json", exclude_unset=True),
                }
            ],
        }
    )


def ray_service_patch(config: ClusterConfig, name: str = RAY_SERVICE) -> str:
    """Returns a patch for Kustomize that gives the RayService `name` its application."""
    return dump_yaml(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": name},
            "spec": {"serveConfigV2": serve_config(config)},
        }
    )


def _is_relative_path(backend: VllmBackendConfig) -> bool:
    return backend.model.startswith((".", "~"))
