"""What `fusion apply` refuses before anything is changed, and its way from one configuration to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.serving import apply as applying
from cluster.serving.apply import RestartNeeded
from cluster.serving.versions import deployment_name
from tests.unit.cluster.serving.test_versions import OTHER, config


def deployments(step: Any) -> list[str]:
    """Every deployment of an application, the judge's first."""
    return [deployment_name(step), *sorted(_backends(step))]


def members_of(step: Any, deployment: str) -> list[str]:
    """The members that a remote backend's replicas serve in this step."""
    return sorted(_backends(step)[deployment]._bound_deployment.user_config)


def _backends(step: Any) -> dict[str, Any]:
    _, handles = step._bound_deployment.init_args
    return {deployment_name(app): app for app in handles.values()}


def test_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("serverr: {}\n")
    refused = CliRunner().invoke(app, ["apply", "-c", str(file)])
    assert refused.exit_code == 2
    assert "did you mean server?" in refused.output


def test_where_it_listens_cannot_change(tmp_path: Path) -> None:
    before, after = config(tmp_path), config(tmp_path, server__port=8001)
    with pytest.raises(RestartNeeded, match=r"127\.0\.0\.1:8000 and the configuration wants 127\.0\.0\.1:8001"):
        applying._check_server(before, after)
    applying._check_server(before, before)


def test_rays_dashboard_keeps_what_it_was_started_with(tmp_path: Path) -> None:
    before = config(tmp_path, observability={"grafana_host": "http://g:3000"})
    recalled = type(before).model_validate_json(before.model_dump_json())
    said: list[str] = []
    assert applying._keep_ray_settings(recalled, before, said.append) == before
    assert said == []
    after = config(tmp_path, observability={"grafana_host": "http://h:3000", "alerts": {"p99_s": 7}})
    served = applying._keep_ray_settings(recalled, after, said.append).observability
    assert (served.grafana_host, served.alerts.p99_s) == ("http://g:3000", 7)
    assert ["stop `fusion serve`" in said[0], "`fusion grafana push`" in said[1]] == [True, True]


def test_nobody_listens_where_a_cluster_should_be() -> None:
    with pytest.raises(OSError, match="refused"):
        applying._find_cluster("127.0.0.1:1")


def test_new_members_come_first_and_what_is_not_wanted_any_more_goes_last(tmp_path: Path) -> None:
    before = config(tmp_path)
    after = config(
        tmp_path,
        backends__more=OTHER,
        members={"one": {"backend": "api", "model": "m"}, "new": {"backend": "more", "model": "o"}},
        **{"presets__fusion/merge": {"mode": "merge", "panel": ["one", "new"], "judge": "one"}},
    )
    steps = applying._steps(before, after, {})
    assert [deployments(step) for step in steps] == [
        ["judge", "remote:api", "remote:more"],
        ["judge", "remote:api", "remote:more"],
        ["judge", "remote:api", "remote:more"],
    ]
    assert [members_of(step, "remote:api") for step in steps] == [["one", "two"], ["one", "two"], ["one"]]
    first, second, third = [step._bound_deployment.version for step in steps]
    assert first != second
    assert second == third


def test_what_is_served_by_an_unknown_configuration_is_replaced_at_once(tmp_path: Path) -> None:
    (step,) = applying._steps(None, config(tmp_path), {})
    assert deployments(step) == ["judge", "remote:api"]


def test_a_member_that_moves_to_another_backend_is_served_by_both_until_the_judges_are_new(tmp_path: Path) -> None:
    before = config(tmp_path, backends__more=OTHER, members__three={"backend": "more", "model": "o"})
    after = config(
        tmp_path,
        backends__more=OTHER,
        members__three={"backend": "more", "model": "o"},
        members__two={"backend": "more", "model": "n"},
    )
    steps = applying._steps(before, after, {})
    served = [(members_of(step, "remote:api"), members_of(step, "remote:more")) for step in steps]
    assert served == [
        (["one", "two"], ["three", "two"]),
        (["one", "two"], ["three", "two"]),
        (["one"], ["three", "two"]),
    ]


def test_a_new_member_of_a_backend_takes_two_steps(tmp_path: Path) -> None:
    steps = applying._steps(config(tmp_path), config(tmp_path, members__new={"backend": "api", "model": "o"}), {})
    assert [members_of(step, "remote:api") for step in steps] == [["new", "one", "two"]] * 2
