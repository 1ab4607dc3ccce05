"""Checks between the parts of a configuration, which the models of the parts cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.config.backends import RemoteBackendConfig, VllmBackendConfig
from cluster.config.base import Location, is_loopback
from cluster.config.members import MemberConfig
from cluster.config.schema import ClusterConfig
from deployments.api.models import OPENROUTER_FUSION


def cross_field_errors(config: ClusterConfig) -> Iterator[tuple[Location, str]]:
    """Yields the location and the description of every contradiction between parts of a configuration."""
    for name, member in config.members.items():
        backend = config.backends.get(member.backend)
        if backend is None:
            yield ("members", name, "backend"), _unknown("backend", member.backend, config.backends)
        elif isinstance(backend, RemoteBackendConfig) and member.model is None:
            yield ("members", name), "a member of a remote backend needs a model"
        elif isinstance(backend, VllmBackendConfig) and member.context_tokens is not None:
            yield ("members", name, "context_tokens"), "a vLLM backend sets it for all members: engine.max_model_len"
        elif isinstance(backend, VllmBackendConfig) and member.omits:
            yield ("members", name, "omits"), "a vLLM backend supports every setting"
        elif isinstance(backend, VllmBackendConfig) and member.model not in (None, backend.model):
            yield ("members", name, "model"), f"its backend serves {backend.model!r}; leave the model out"
        yield from _fallback_errors(config, name, member)
    for name, preset in config.presets.items():
        if name in config.members:
            yield ("presets", name), "a preset and a member must not share a name: both are model ids"
        yield from _member_list_errors(config, ("presets", name, "panel"), preset.panel)
        yield from _member_list_errors(config, ("presets", name, "judge"), preset.judges)
    for kind, names in (("members", config.members), ("presets", config.presets)):
        if OPENROUTER_FUSION in names:
            yield (kind, OPENROUTER_FUSION), "this name is reserved: it stands for the default preset"
    if not is_loopback(config.server.host) and config.server.api_keys_env is None:
        yield (
            ("server", "host"),
            f"{config.server.host} can be reached from other machines: set server.api_keys_env, or use 127.0.0.1",
        )


def _fallback_errors(config: ClusterConfig, name: str, member: MemberConfig) -> Iterator[tuple[Location, str]]:
    yield from _member_list_errors(config, ("members", name, "fallbacks"), member.fallbacks)
    if name in member.fallbacks:
        location = ("members", name, "fallbacks", member.fallbacks.index(name))
        yield location, "a member cannot be its own fallback"
    if isinstance(member.hedge, str):
        second = config.members.get(member.hedge)
        if second is None:
            yield ("members", name, "hedge"), _unknown("member", member.hedge, config.members)
        elif second.backend == member.backend:
            yield (
                ("members", name, "hedge"),
                f"{member.hedge!r} is at the same backend: name a member of another one, or leave hedge out and "
                "set the backend's replicas.max above 1 for a second call to another replica",
            )


def _member_list_errors(
    config: ClusterConfig, location: Location, members: tuple[str, ...]
) -> Iterator[tuple[Location, str]]:
    for index, member in enumerate(members):
        if member not in config.members:
            yield (*location, index), _unknown("member", member, config.members)
        elif member in members[:index]:
            yield (*location, index), f"{member!r} is named twice"


def _unknown(kind: str, name: str, known: dict[str, Any]) -> str:
    return f"there is no {kind} {name!r}; known are {', '.join(known)}"
