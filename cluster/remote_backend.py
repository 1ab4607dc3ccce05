"""A remote backend as its members are made from it."""

from __future__ import annotations

from cluster.config import RemoteBackendConfig
from deployments.providers.member import RemoteBackend, Timeouts
from deployments.secrets import Secret


def remote_backend(config: RemoteBackendConfig) -> RemoteBackend:
    """The backend that a configuration describes. Its key is named, not read."""
    key = None
    if config.api_key_env is not None or config.api_key_file is not None:
        key = Secret(config.api_key_env, config.api_key_file)
    return RemoteBackend(
        config.base_url,
        key,
        Timeouts(**config.timeouts.model_dump()),
        max_connections=config.replicas.max_ongoing,  # a call has one to itself, and none waits for one
        api=config.api,
    )
