"""The composition root: a configuration becomes a Serve application.

judge ──handle──► one deployment a remote member
      ──handle──► one deployment a vLLM backend, which all its members share: the engine is inside the replica
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from cluster.config.backends import RemoteBackendConfig, RemoteReplicas, VllmBackendConfig, remote_backend
from cluster.config.schema import ClusterConfig, JudgeReplicas
from cluster.serving.embedded_model import default_cache_dir
from cluster.serving.versions import fingerprint, versioned
from deployments.api.models import Catalogue
from deployments.autoscaling import autoscaling_config
from deployments.judge.replica import MEMBER_TIMEOUT_S, Judge
from deployments.observability.tracing.settings import TracingSettings
from deployments.providers.replica import RemoteReplica, RemoteSettings
from deployments.resilience.breaker import BreakerSettings
from deployments.resilience.limits import LimitSettings
from deployments.resilience.retries import RetrySettings
from deployments.secrets import Secret
from fusion.member import MemberProfile

APP_NAME = "fusion"


_BEING_REFUSED = 256


# Beside the longest deadline of any request, for a replica that goes away to end what it has.
_DRAIN_MARGIN_S = 10.0


# Serve's decorators are typed for functions.
_deployment: Any = serve.deployment


_asgi_ingress: Any = serve.ingress()


def build(
    config: ClusterConfig,
    members: Mapping[str, Application] | None = None,
    folders: Mapping[str, str] | None = None,
    kept: Mapping[str, Application] | None = None,
) -> Application:
    """The application that serves a configuration.

    Args:
        config: what to serve.
        members: deployments by member name that stand in for those the configuration describes.
        folders: where models are on the nodes, by the id that the configuration gives them.
        kept: deployments that run on beside those that the configuration describes, by member name.

    Raises:
        ImportError: a vLLM backend is configured and vLLM is not installed.
    """
    profiles = config.profiles()
    catalogue = Catalogue(config.fusion_presets(), profiles, config.default_preset)
    keys = config.server.api_keys_env
    judge = config.judge
    # What is too much the replica refuses itself, in the API's own words; Serve only has to let it in.
    let_in = judge.max_ongoing + judge.max_queued + _BEING_REFUSED
    options = _options("judge", judge.replicas, judge.target_queue_depth, let_in, _drain_s(config))
    options["user_config"] = {"target_queue_depth": judge.target_queue_depth}  # it reaches replicas that run
    members = members or member_deployments(config, profiles, folders or {})
    settings: dict[str, Any] = {
        "max_body_bytes": config.server.max_body_bytes,
        "max_ongoing": judge.max_ongoing,
        "max_queued": judge.max_queued,
        "keys": None if keys is None else Secret(env=keys),
        "backups": config.backups(),
        "traces": config.traces and config.traces.settings(config.fingerprint, default_cache_dir()),
        "tracing": config.tracing_settings(),
    }
    app = _deployment(_asgi_ingress(Judge), **options).bind(catalogue, {**(kept or {}), **members}, **settings)
    # The members' deployments are no part of it: one that changes does not restart the judges.
    return versioned(app, fingerprint(catalogue, settings))


def application(args: dict[str, Any]) -> Application:
    """Serve's entry for applications that come from a configuration file of its own: `args` is this project's
    configuration, as `fusion k8s render` writes it.

    Raises:
        ValueError: it is not a good one.
    """
    config = ClusterConfig.model_validate(args)
    if problems := [f"{'.'.join(map(str, where))}: {what}" for where, what in config.contradictions()]:
        raise ValueError("; ".join(problems))
    return build(config)


def member_deployments(
    config: ClusterConfig, profiles: Mapping[str, MemberProfile], folders: Mapping[str, str]
) -> dict[str, Application]:
    """Every member's deployment, by member name."""
    deployments: dict[str, Application] = {}
    drain_s = _drain_s(config)
    for name, backend in config.backends.items():
        voices = [member for member, profile in profiles.items() if profile.backend == name]
        if isinstance(backend, VllmBackendConfig):
            if voices:
                model = folders.get(backend.model, backend.model)
                deployments |= dict.fromkeys(voices, _vllm(name, model, backend, drain_s))
        else:
            deployments |= {
                member: _remote(
                    backend,
                    profiles[member],
                    len(voices),
                    config.members[member].omits,
                    config.tracing_settings(),
                    drain_s,
                )
                for member in voices
            }
    return deployments


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
    # What only Serve has to know is no part of it: engines start slowly.
    version = fingerprint(
        settings.model, settings.engine, settings.accelerator, settings.placement_strategy, settings.env
    )
    return versioned(vllm_deployment(settings), version)


def _remote(
    backend: RemoteBackendConfig,
    profile: MemberProfile,
    members: int,
    omits: frozenset[str],
    tracing: TracingSettings | None,
    drain_s: float,
) -> Application:
    replicas = backend.replicas
    # No replica knows of the others, so each keeps to an even share.
    shares = members * replicas.max
    limits = LimitSettings(
        **{name: limit and max(1, limit // shares) for name, limit in backend.limits.model_dump().items()}
    )
    # As in the judge, Serve lets in what is too much: who waits in its queues hears nothing of an open breaker.
    limits = replace(limits, concurrency=min(limits.concurrency or replicas.max_ongoing, replicas.max_ongoing))
    let_in = replicas.max_ongoing + limits.max_queued + _BEING_REFUSED
    settings = RemoteSettings(
        backend=remote_backend(backend),
        retries=RetrySettings(**backend.retries.model_dump()),
        breaker=BreakerSettings(**backend.breaker.model_dump()),
        limits=limits,
        omits=omits,
        tracing=tracing,
        max_ongoing=replicas.max_ongoing,
    )
    options = _options(f"member:{profile.name}", replicas, replicas.target_ongoing, let_in, drain_s)
    app = _deployment(RemoteReplica, **options).bind(settings, profile.name, profile.model)
    return versioned(app, fingerprint(settings, profile.model))


def _drain_s(config: ClusterConfig) -> float:
    """How long a request may be under way."""
    deadlines = [preset.deadline_s for preset in config.presets.values()]
    return max(MEMBER_TIMEOUT_S, *deadlines) + _DRAIN_MARGIN_S


def _options(
    name: str, replicas: RemoteReplicas | JudgeReplicas, target_ongoing: float, let_in: int, drain_s: float
) -> dict[str, Any]:
    return {
        "name": name,
        "max_ongoing_requests": let_in,
        "max_queued_requests": let_in,
        # A replica that is to go ends what it has, and one that is replaced goes once another is up in its place.
        "graceful_shutdown_timeout_s": drain_s,
        "max_surge_percent": 100,
        "autoscaling_config": autoscaling_config(replicas.min, replicas.max, target_ongoing),
        "ray_actor_options": {"num_cpus": replicas.num_cpus},
        # A path may hold nothing of a prompt, but a log line a request is a cost on the hot path.
        "logging_config": LoggingConfig(enable_access_log=False),
    }
