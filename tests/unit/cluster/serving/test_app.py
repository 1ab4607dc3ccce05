"""What the composition root makes of a configuration, as far as that needs no Ray."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config.schema import ClusterConfig
from cluster.serving.app import backend_deployments
from deployments.providers.replica import RemoteSettings
from deployments.resilience.limits import LimitSettings


@pytest.mark.parametrize(
    ("limits", "share"),
    [
        ({"concurrency": 64, "requests_per_minute": 600, "max_queued": 100}, LimitSettings(21, 200, None, 33)),
        ({"concurrency": 2, "max_queued": 0}, LimitSettings(1, None, None, 0)),
        ({"concurrency": 6000}, LimitSettings(1024, None, None, 85)),
    ],
)
def test_each_replica_keeps_to_an_even_share_of_its_backends_limits(
    limits: dict[str, int], share: LimitSettings
) -> None:
    backend = {"kind": "remote", "base_url": "https://example.com/v1", "limits": limits, "replicas": {"max": 3}}
    content = {
        "backends": {"api": backend},
        "members": {name: {"backend": "api", "model": name} for name in ("ada", "bob")},
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["ada", "bob"], "judge": "ada"}},
    }
    config = ClusterConfig.model_validate(content)
    deployments: dict[str, Any] = backend_deployments(config, {})
    deployment = deployments["api"]._bound_deployment
    (settings,) = deployment.init_args
    assert isinstance(settings, RemoteSettings)
    assert settings.limits == share
    assert deployment.name == "remote:api"
    assert deployment.user_config == {name: {"model": name, "omits": []} for name in ("ada", "bob")}


def test_what_a_remote_member_cannot_take_waits_in_its_own_queue_which_has_a_bound() -> None:
    """Serve's queues are for what is refused at once, by an open breaker say."""
    content = {
        "backends": {
            "api": {"kind": "remote", "base_url": "https://example.com/v1", "replicas": {"target_ongoing": 100}}
        },
        "members": {"ada": {"backend": "api", "model": "ada"}},
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["ada"], "judge": "ada"}},
    }
    config = ClusterConfig.model_validate(content)
    deployments: dict[str, Any] = backend_deployments(config, {})
    deployment = deployments["api"]._bound_deployment
    assert (deployment.max_ongoing_requests, deployment.max_queued_requests) == (912, 912)
    settings, *_ = deployment.init_args
    assert settings.limits == LimitSettings(concurrency=400, max_queued=256)
    assert settings.backend.max_connections == 400
