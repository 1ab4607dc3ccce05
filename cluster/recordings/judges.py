"""Opens the judge model that judges again: at its own API, or through a running service."""

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
class JudgeAccess:
    """A judge model: the member to call, and its profile."""

    member: Member
    profile: MemberProfile


@asynccontextmanager
async def remote_judge(config: ClusterConfig, name: str) -> AsyncGenerator[JudgeAccess]:
    """Call a remote member of the configuration directly, with its backend's retries and limits.

    Raises:
        RecordingsError: no member has this name, or it runs on an engine and needs a running service.
    """
    profile = _profile(config, name)
    backend = config.backends[profile.backend]
    if not isinstance(backend, RemoteBackendConfig):
        raise RecordingsError(f"{name} runs on an engine: start `fusion serve`, and give its address with --url")
    try:
        bare = RemoteMember(backend.remote_backend(), profile.model, config.members[name].omits)
    except MissingSecret as error:
        raise RecordingsError(f"{name}: {error.message}") from error
    retries = RetrySettings(**backend.retries.model_dump())
    limiter = Limiter(LimitSettings(**backend.limits.model_dump()))
    try:
        yield JudgeAccess(ProfiledMember(replica_side(bare, retries, None, limiter), profile), profile)
    finally:
        await bare.aclose()


@asynccontextmanager
async def service_judge(
    url: str, key_env: str | None, name: str, config: ClusterConfig | None
) -> AsyncGenerator[JudgeAccess]:
    """Call a member of a running service by its name. Its price is the configuration's, unknown without one."""
    key = None if key_env is None else Secret(env=key_env)
    bare = RemoteMember(RemoteBackend(f"{url.rstrip('/')}/v1", key), name)
    try:
        yield JudgeAccess(bare, MemberProfile(name, url, name) if config is None else _profile(config, name))
    finally:
        await bare.aclose()


def _profile(config: ClusterConfig, name: str) -> MemberProfile:
    profiles = config.profiles()
    if name not in profiles:
        raise RecordingsError(f"there is no member {name!r} in the configuration; known are {', '.join(profiles)}")
    return profiles[name]
