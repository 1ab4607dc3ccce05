"""Reaches the judge model that is to judge again: at its own API, or through a running service."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cluster.config.backends import RemoteBackendConfig
from cluster.config.schema import ClusterConfig
from cluster.recordings.folder import RecordingsError
from deployments.members.profiled import ProfiledMember
from deployments.providers.backend import RemoteBackend
from deployments.providers.chain import replica_side
from deployments.providers.member import RemoteMember
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.secrets import MissingSecret, Secret
from fusion.member import Member, MemberProfile


@dataclass(frozen=True, slots=True)
class Reached:
    """A judge model that can be asked, and what makes it one."""

    member: Member
    profile: MemberProfile


@asynccontextmanager
async def at_its_api(config: ClusterConfig, name: str) -> AsyncGenerator[Reached]:
    """A remote member of the configuration, asked directly, with its backend's retries and limits.

    Raises:
        RecordingsError: there is none of this name, or it cannot be asked without a running service.
    """
    profile = _profile(config, name)
    backend = config.backends[profile.backend]
    if not isinstance(backend, RemoteBackendConfig):
        raise RecordingsError(f"{name} is on an engine of its own: start `fusion serve` and say where with --url")
    try:
        bare = RemoteMember(backend.remote_backend(), profile.model, config.members[name].omits)
    except MissingSecret as error:
        raise RecordingsError(f"{name}: {error.message}") from error
    retries = RetrySettings(**backend.retries.model_dump())
    limiter = Limiter(LimitSettings(**backend.limits.model_dump()))
    try:
        yield Reached(ProfiledMember(replica_side(bare, retries, None, limiter), profile), profile)
    finally:
        await bare.aclose()


@asynccontextmanager
async def at_service(url: str, key_env: str | None, name: str, config: ClusterConfig | None) -> AsyncGenerator[Reached]:
    """A member of a running service, asked by its name. Its price is the configuration's, unknown without one."""
    key = None if key_env is None else Secret(env=key_env)
    bare = RemoteMember(RemoteBackend(f"{url.rstrip('/')}/v1", key), name)
    try:
        yield Reached(bare, MemberProfile(name, url, name) if config is None else _profile(config, name))
    finally:
        await bare.aclose()


def _profile(config: ClusterConfig, name: str) -> MemberProfile:
    profiles = config.profiles()
    if name not in profiles:
        raise RecordingsError(f"there is no member {name!r} in the configuration; known are {', '.join(profiles)}")
    return profiles[name]
