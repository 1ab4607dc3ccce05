"""What a changed configuration restarts, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config.loader import load
from cluster.config.schema import ClusterConfig
from cluster.serving.app import backend_deployments, build, by_member
from cluster.serving.versions import deployment_name, fingerprint

OTHER = {"kind": "remote", "base_url": "http://127.0.0.1:8/v1"}


def config(folder: Path, **changes: Any) -> ClusterConfig:
    """Two remote members and a preset, with changes by dotted path."""
    document: dict[str, Any] = {
        "backends": {"api": {"kind": "remote", "base_url": "http://127.0.0.1:9/v1"}},
        "members": {
            "one": {"backend": "api", "model": "m", "omits": ["seed", "stop", "top_p"]},
            "two": {"backend": "api", "model": "n"},
        },
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["one", "two"], "judge": "one"}},
    }
    for path, value in changes.items():
        *above, last = path.split("__")
        place = document
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return load(file)


def versions(served: ClusterConfig) -> dict[str, str]:
    """Every deployment's version by its name."""
    backends = backend_deployments(served, {})
    apps = [build(served, by_member(served, backends)), *backends.values()]
    return {deployment_name(app): app._bound_deployment.version for app in apps}


def changed(folder: Path, **changes: Any) -> set[str]:
    """The deployments that a change restarts, those that are new among them."""
    before, after = versions(config(folder)), versions(config(folder, **changes))
    return {name for name, version in after.items() if before.get(name) != version}


@pytest.mark.parametrize(
    ("changes", "restarted"),
    [
        ({}, set()),
        ({"presets__fusion/merge": {"mode": "best-of", "panel": ["one"], "judge": "two"}}, {"judge"}),
        ({"presets__fusion/more": {"mode": "merge", "panel": ["one"], "judge": "two"}}, {"judge"}),
        ({"members__one__temperature": 0.5}, {"judge"}),
        ({"members__one__system": "Be terse."}, {"judge"}),
        # A replica learns of its members while it runs.
        ({"members__one__model": "o"}, {"judge"}),
        ({"members__one__omits": ["seed"]}, set()),
        ({"members__one__price": {"input_per_mtok": 1.0, "output_per_mtok": 2.0}}, {"judge"}),
        ({"backends__more": OTHER, "members__three": {"backend": "more", "model": "o"}}, {"judge", "remote:more"}),
        ({"members__three": {"backend": "api", "model": "o"}}, {"judge"}),
        ({"backends__api__timeouts": {"total_s": 7}}, {"remote:api"}),
        ({"backends__api__limits": {"concurrency": 8}}, {"remote:api"}),
        ({"backends__api__replicas": {"min": 1, "max": 1, "target_ongoing": 256}}, set()),
        ({"judge__replicas": {"min": 2, "max": 3}}, set()),
        ({"judge__max_queued": 7}, {"judge"}),
        ({"server__max_body_bytes": 2048}, {"judge"}),
    ],
)
def test_only_what_is_made_from_the_change_starts_anew(
    tmp_path: Path, changes: dict[str, Any], restarted: set[str]
) -> None:
    assert changed(tmp_path, **changes) == restarted


def test_a_set_has_one_fingerprint_in_every_process() -> None:
    program = (
        "from cluster.serving.versions import fingerprint; print(fingerprint(frozenset('abcdefgh'), {'b': 1, 'a': 2}))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert told == {fingerprint(frozenset("hgfedcba"), {"a": 2, "b": 1})}


def test_what_has_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no fingerprint"):
        fingerprint(object())
