"""Configurations that Kubernetes cannot carry: what `fusion k8s render` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.main import app


def _config(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "backends": {"api": {"kind": "remote", "base_url": "https://api.example/v1"}},
        "members": {"one": {"backend": "api", "model": "m"}},
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["one"], "judge": "one"}},
        "server": {"host": "0.0.0.0", "api_keys_env": "KEYS"},
    }
    return config | changes


def _render(config: dict[str, Any], folder: Path) -> Any:
    file = folder / "fusion.yaml"
    file.write_text(yaml.safe_dump(config))
    return CliRunner().invoke(app, ["k8s", "render", "-c", str(file)])


def _backend(**changes: Any) -> dict[str, Any]:
    return {"backends": {"api": _config()["backends"]["api"] | changes}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server": {"host": "127.0.0.1"}}, "server.host: 127.0.0.1 is not reachable from outside of the pod"),
        (
            {"server": {"host": "0.0.0.0", "api_keys_env": "MY KEYS"}},
            "server.api_keys_env: 'MY KEYS' is not a valid",
        ),
        (_backend(base_url="http://localhost:9/v1"), "backends.api.base_url: in a pod the loopback address is the pod"),
        (_backend(api_key_env="A=B"), "backends.api.api_key_env: 'A=B' is not a valid name"),
        (_backend(api_key_file="keys/api"), "backends.api.api_key_file: 'keys/api' is relative"),
        ({"recordings": {"path": "recordings"}}, "recordings.path: 'recordings' is relative"),
        ({"recordings": {"path": "s3://bucket/recordings", "spool": "spool"}}, "recordings.spool: 'spool' is relative"),
    ],
)
def test_it_is_refused_with_its_place(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    refused = _render(_config(**changes), tmp_path)
    assert refused.exit_code == 2
    assert f"{tmp_path / 'fusion.yaml'}:" in refused.output
    assert said in refused.output


def test_what_kubectl_does_not_take_is_refused(tmp_path: Path) -> None:
    one = _config()["members"]["one"]
    refused = _render(_config(members={"one": {**one, "system": "Be brief. " * 25_000}}), tmp_path)
    assert refused.exit_code == 2
    assert "`kubectl apply` accepts 200000" in refused.output


@pytest.mark.parametrize("path", ["s3://bucket/recordings", "/var/lib/fusion/recordings"])
def test_what_it_can_carry_is_rendered(path: str, tmp_path: Path) -> None:
    rendered = _render(_config(recordings={"path": path}), tmp_path)
    assert rendered.exit_code == 0, rendered.output
    served = yaml.safe_load(yaml.safe_load(rendered.output)["spec"]["serveConfigV2"])
    assert served["applications"][0]["args"]["recordings"] == {"path": path}
