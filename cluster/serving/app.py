"""The composition root: builds a Serve application from a configuration.

judge ──handle──► remote:BACKEND, one deployment for each remote backend, which all its members share
      ──handle──► vllm:BACKEND, one deployment for each vLLM backend, which all its members share: the engine is inside
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import LoggingConfig

from cluster.config.backends import RemoteBackendConfig, RemoteReplicas, VllmBackendConfig
from cluster.config.cross_field import cross_field_errors
from cluster.config.former_keys import former_keys_in, notice, with_current_keys
from cluster.config.schema import ClusterConfig, JudgeReplicas
from cluster.serving.embedded_model import default_cache_dir
from cluster.serving.ray_private import with_version
from cluster.serving.versions import deployment_name, fingerprint
from deployments.api.models import Catalogue
from deployments.autoscaling import autoscaling_config
from deployments.judge.replica import MEMBER_TIMEOUT_S, Judge
from deployments.members.local_socket.router import SocketAwareRouter
from deployments.providers.replica import RemoteModel, RemoteReplica, RemoteSettings
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.secrets import Secret

_log = logging.getLogger(__name__)


APP_NAME = "fusion"


_REFUSAL_HEADROOM = 256
"""Calls that Serve admits beyond what a replica runs and queues: the replica refuses them with its own errors."""


_DRAIN_MARGIN_S = 10.0
"""Time beyond the longest deadline of any request that a replica has to finish its calls when it is replaced."""


# Serve's decorators are typed for functions.
_deployment: Any = serve.deployment


_asgi_ingress: Any = serve.ingress()


# Serve's field takes a path too, and is typed for neither.
_router: Any = SocketAwareRouter


def build(
    config: ClusterConfig,
    members: Mapping[str, Application] | None = None,
    folders: Mapping[str, str] | None = None,
    kept: Iterable[Application] = (),
) -> Application:
    """Build the application that serves a configuration.

    Args:
        config: what to serve.
        members: deployments by member name, instead of those that the configuration describes.
        folders: where models are on the nodes, by the id that the configuration gives them.
        kept: deployments that keep running beside those of the members.

    Raises:
        ImportError: a vLLM backend is configured and vLLM is not installed.
    """
    profiles = config.profiles()
    catalogue = Catalogue(config.fusion_presets(), profiles, config.default_preset)
    keys = config.server.api_keys_env
    judge = config.judge
    # The replica refuses excess requests itself, with the API's own errors; Serve only has to admit them.
    admitted = judge.max_ongoing + judge.max_queued + _REFUSAL_HEADROOM
    options = _options("judge", judge.replicas, judge.target_queue_depth, admitted, _drain_s(config))
    options["user_config"] = {"target_queue_depth": judge.target_queue_depth}  # running replicas are given it
    members = members or by_member(config, backend_deployments(config, folders or {}))
    handles = {**{deployment_name(app): app for app in kept}, **members}
    settings: dict[str, Any] = {
        "max_body_bytes": config.server.max_body_bytes,
        "max_ongoing": judge.max_ongoing,
        "max_queued": judge.max_queued,
        "keys": None if keys is None else Secret(env=keys),
        "targets": config.targets(),
        "recordings": config.recordings and config.recordings.settings(config.fingerprint, default_cache_dir()),
        "tracing": config.tracing_settings(),
    }
    app = _deployment(_asgi_ingress(Judge), **options).bind(catalogue, handles, **settings)
    # The members' deployments are no part of the fingerprint: one that changes does not restart the judges.
    return with_version(app, fingerprint(catalogue, settings))


def application(args: dict[str, Any]) -> Application:
    """Build the application for Serve's own configuration files, where `args` is this project's configuration, as
    `fusion k8s render` writes it.

    Raises:
        ValueError: the configuration is invalid.
    """
    for former in former_keys_in(args):
        _log.warning("%s", notice(former))
    config = ClusterConfig.model_validate(with_current_keys(args))
    if problems := [f"{'.'.join(map(str, where))}: {what}" for where, what in cross_field_errors(config)]:
        raise ValueError("; ".join(problems))
    return build(config)


def backend_deployments(
    config: ClusterConfig, folders: Mapping[str, str], leaving: ClusterConfig | None = None
) -> dict[str, Application]:
    """The deployment of every backend that has members, by the backend's name.

    Args:
        config: what to serve.
        folders: where models are on the nodes, by the id that the configuration gives them.
        leaving: a configuration whose members are served too, where their backend is one of this configuration's.
    """
    deployments: dict[str, Application] = {}
    drain_s = _drain_s(config)
    for name, backend in config.backends.items():
        models = _models(config, name)
        if not models:
            continue
        if isinstance(backend, VllmBackendConfig):
            deployments[name] = _vllm(name, folders.get(backend.model, backend.model), backend, drain_s)
        else:
            if leaving is not None and isinstance(leaving.backends.get(name), RemoteBackendConfig):
                models = {**_models(leaving, name), **models}
            deployments[name] = _remote(name, models, backend, config, drain_s)
    return deployments


def by_member(config: ClusterConfig, deployments: Mapping[str, Application]) -> dict[str, Application]:
    """Each member's deployment, from those of the backends."""
    return {name: deployments[member.backend] for name, member in config.members.items()}


def _models(config: ClusterConfig, backend: str) -> dict[str, RemoteModel]:
    """What a replica of the backend has to know of its members, by their names."""
    profiles = config.profiles()
    return {
        name: RemoteModel(model=profiles[name].model, omits=sorted(member.omits))
        for name, member in config.members.items()
        if member.backend == backend
    }


def _vllm(name: str, model: str, backend: VllmBackendConfig, drain_s: float) -> Application:
    from deployments.vllm.deployment import EngineSettings, vllm_deployment

    settings = EngineSettings(
        name=name,
        model=model,
        engine=backend.engine,
        accelerator=backend.accelerator,
        placement_strategy=backend.placement.strategy,
        env=backend.env,
        min_replicas=backend.replicas.min,
        max_replicas=backend.replicas.max,
        target_ongoing=backend.replicas.target_ongoing,
        max_ongoing=backend.replicas.max_ongoing,
        drain_s=drain_s,
    )
    # Settings that only Serve needs are no part of the version: engines start slowly.
    version = fingerprint(
        settings.model, settings.engine, settings.accelerator, settings.placement_strategy, settings.env
    )
    return with_version(vllm_deployment(settings), version)


def _remote(
    name: str, models: Mapping[str, RemoteModel], backend: RemoteBackendConfig, config: ClusterConfig, drain_s: float
) -> Application:
    replicas = backend.replicas
    # No replica knows of the others, so each keeps to an even share.
    limits = LimitSettings(
        **{limit: most and max(1, most // replicas.max) for limit, most in backend.limits.model_dump().items()}
    )
    # As for the judge, Serve admits excess calls: in its own queue they would wait although a breaker is open.
    limits = replace(limits, concurrency=min(limits.concurrency or replicas.max_ongoing, replicas.max_ongoing))
    admitted = replicas.max_ongoing + limits.max_queued + _REFUSAL_HEADROOM
    settings = RemoteSettings(
        backend=backend.remote_backend(),
        retries=RetrySettings(**backend.retries.model_dump()),
        breaker=BreakerSettings(**backend.breaker.model_dump()),
        limits=limits,
        tracing=config.tracing_settings(),
        max_ongoing=replicas.max_ongoing,
    )
    options = _options(f"remote:{name}", replicas, replicas.target_ongoing, admitted, drain_s)
    options["request_router_config"] = RequestRouterConfig(request_router_class=_router)
    options["user_config"] = dict(models)  # running replicas are given it: a change of members restarts none
    return with_version(_deployment(RemoteReplica, **options).bind(settings), fingerprint(settings))


def _drain_s(config: ClusterConfig) -> float:
    """How long a replica that is replaced may take to finish its calls: the longest deadline, and a margin."""
    deadlines = [preset.deadline_s for preset in config.presets.values()]
    return max(MEMBER_TIMEOUT_S, *deadlines) + _DRAIN_MARGIN_S


def _options(
    name: str, replicas: RemoteReplicas | JudgeReplicas, target_ongoing: float, admitted: int, drain_s: float
) -> dict[str, Any]:
    return {
        "name": name,
        "max_ongoing_requests": admitted,
        "max_queued_requests": admitted,
        # A replica finishes its calls before it stops, and is replaced only when its successor runs.
        "graceful_shutdown_timeout_s": drain_s,
        "max_surge_percent": 100,
        "autoscaling_config": autoscaling_config(replicas.min, replicas.max, target_ongoing),
        "ray_actor_options": {"num_cpus": replicas.num_cpus},
        # A path holds nothing of a prompt, but a log line a request costs time on the hot path.
        "logging_config": LoggingConfig(enable_access_log=False),
    }
