"""A configuration as KubeRay carries it: the `serveConfigV2` of a RayService.

The application's arguments are the configuration itself, so that `fusion serve -c FILE` on one machine and the
RayService on Kubernetes build the same from the same file. Keys are named in it, never held: they come from a Secret,
as environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, cast
from urllib.parse import urlsplit

import yaml

from cluster.config.backends import RemoteBackendConfig, VllmBackendConfig
from cluster.config.base import is_loopback
from cluster.config.schema import ClusterConfig, Location
from deployments.recordings.settings import is_local

APP_NAME = "fusion"


IMPORT_PATH = "cluster.app:application"


ROUTE_PREFIX = "/"


RAY_SERVICE = "fusion"


MAX_BYTES = 200_000
"""`kubectl apply` keeps the object a second time in an annotation, and no annotation may be larger than 256 KiB."""


_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def kubernetes_errors(config: ClusterConfig) -> Iterator[tuple[Location, str]]:
    """What Kubernetes cannot carry of a configuration: the place in the file and what is wrong there."""
    if is_loopback(config.server.host):
        yield (
            ("server", "host"),
            f"{config.server.host} cannot be reached from outside of a pod: use 0.0.0.0 and server.api_keys_env",
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
                yield (*at, "base_url"), "in a pod the loopback address is the pod itself: name a service"
        elif _is_relative_path(backend):
            yield (
                (*at, "model"),
                f"{backend.model!r} is a relative path: use a hub id, or a path in a volume",
            )
    for key, path in (("path", config.traces.path), ("spool", config.traces.spool)) if config.traces else ():
        if path is not None and is_local(path) and not PurePosixPath(urlsplit(path).path).is_absolute():
            yield ("traces", key), f"{path!r} is relative: use an object store's URL, or a path in a volume"
    for location, variable in variables:
        if variable is not None and not _ENV_NAME.fullmatch(variable):
            yield location, f"{variable!r} is not a name that a pod's environment takes"
    size = len(serve_config(config).encode())
    if size > MAX_BYTES:
        yield (), f"as a serveConfigV2 it is {size} bytes large, of which `kubectl apply` takes {MAX_BYTES}"


def serve_config(config: ClusterConfig) -> str:
    """The `serveConfigV2`: Serve's own configuration file, as YAML."""
    return _yaml(
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
    """The manifest that gives the RayService `name` its application, for Kustomize to merge into the rest of it."""
    return _yaml(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": name},
            "spec": {"serveConfigV2": serve_config(config)},
        }
    )


def _is_relative_path(backend: VllmBackendConfig) -> bool:
    return backend.model.startswith((".", "~"))


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    scalar: Any = cast("Any", dumper).represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)
    return scalar


_Dumper.add_representer(str, _text)


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
