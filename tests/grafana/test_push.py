"""`fusion grafana push` and `diff` against a Grafana."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.grafana.manifests import DASHBOARDS
from tests.grafana.server import TOKEN, Grafana, serving

GROUP = ("fusion-cluster", "fusion-cluster")


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grafana]:
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    with serving(Grafana()) as running:
        yield running


def run(verb: str, url: str, *more: str) -> Result:
    result = CliRunner().invoke(app, ["grafana", verb, "--url", url, *more], catch_exceptions=False)
    assert TOKEN not in result.output
    return result


def test_everything_is_made_and_a_second_push_changes_nothing(grafana: Grafana) -> None:
    first = run("push", grafana.url)
    assert first.exit_code == 0, first.output
    assert set(grafana.dashboards) == {board.uid for board in DASHBOARDS}
    assert {saved[-1]["meta"]["folderUid"] for saved in grafana.dashboards.values()} == {"fusion-cluster"}
    assert grafana.data_sources["fusion-prometheus"]["url"] == "http://localhost:9090"
    rules = {rule["title"] for rule in grafana.groups[GROUP]["rules"]}
    assert {"FusionNoQuorum", "FusionJudgeDegraded", "FusionBreakerOpen", "FusionQueueAboveTarget"} < rules
    assert {"FusionLatencyOverObjective", "FusionBudgetBurn"} < rules
    writes = len(grafana.writes())
    again = run("push", grafana.url)
    assert again.exit_code == 0
    assert "nothing to do" in again.output
    assert len(grafana.writes()) == writes
    same = run("diff", grafana.url)
    assert (same.exit_code, same.output) == (0, "nothing differs\n")


@pytest.mark.parametrize("version", ["10.0.3", "11.6.0", "12.1.0", "13.0.0"])
def test_every_grafana_since_the_least_one_will_do(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    with serving(Grafana(version=version, prefix="/grafana")) as grafana:
        for _ in range(2):
            assert run("push", grafana.url).exit_code == 0
        assert len(grafana.dashboards["fusion-overview"]) == 1


def test_a_diff_says_what_would_change_and_changes_nothing(grafana: Grafana) -> None:
    shown = run("diff", grafana.url)
    assert shown.exit_code == 1
    assert shown.output.count("would be made") == 3 + len(DASHBOARDS)
    assert grafana.writes() == []
    run("push", grafana.url)
    for rule in grafana.groups[GROUP]["rules"]:
        rule["for"] = "7m"
    shown = run("diff", grafana.url)
    assert shown.exit_code == 1
    assert "would be brought up to date: alert rules" in shown.output
    assert 'FusionBudgetBurn: for: "7m" -> "5m"' in shown.output


def test_what_an_older_one_of_ours_pushed_is_brought_up_to_date(grafana: Grafana) -> None:
    run("push", grafana.url)
    saved = grafana.dashboards["fusion-cost"]
    saved[0]["message"] = "fusion grafana push 0123456789abcdef"
    saved[0]["dashboard"]["title"] = "Costs"
    shown = run("diff", grafana.url)
    assert 'title: "Costs" -> "Cost"' in shown.output
    assert run("push", grafana.url).exit_code == 0
    assert saved[-1]["dashboard"]["title"] == "Cost"
    assert saved[-1]["dashboard"]["version"] == 2


def test_a_dashboard_edited_by_hand_is_left_alone_unless_forced(grafana: Grafana) -> None:
    run("push", grafana.url)
    grafana.edit("fusion-overview", title="Our overview")
    writes = len(grafana.writes())
    refused = run("push", grafana.url)
    assert refused.exit_code == 1
    assert "left alone: dashboard Fusion overview: edited by hand (--force overwrites it)" in refused.output
    assert len(grafana.writes()) == writes
    assert grafana.dashboards["fusion-overview"][-1]["dashboard"]["title"] == "Our overview"
    assert 'title: "Our overview" -> "Fusion overview"' in run("diff", grafana.url).output
    assert run("push", grafana.url, "--force").exit_code == 0
    assert grafana.dashboards["fusion-overview"][-1]["dashboard"]["title"] == "Fusion overview"
    assert run("push", grafana.url).exit_code == 0


def test_one_that_is_saved_while_we_push_is_not_overwritten_even_by_force(grafana: Grafana) -> None:
    run("push", grafana.url)
    grafana.edit("fusion-overview", title="Ours")

    def race(method: str, path: str) -> None:
        grafana.before = None
        grafana.edit("fusion-overview", title="Theirs")

    grafana.before = race
    beaten = run("push", grafana.url, "--force")
    assert beaten.exit_code == 1
    assert "changed in Grafana in the meantime" in beaten.output
    assert grafana.dashboards["fusion-overview"][-1]["dashboard"]["title"] == "Theirs"


def test_one_that_was_moved_stays_where_it_is(grafana: Grafana) -> None:
    run("push", grafana.url)
    grafana.folders["other"] = {"id": 9, "uid": "other", "title": "Other"}
    saved = grafana.dashboards["fusion-cost"]
    saved[0]["meta"]["folderUid"] = "other"
    saved[0]["message"] = "fusion grafana push 0123456789abcdef"
    assert run("push", grafana.url).exit_code == 0
    assert saved[-1]["meta"]["folderUid"] == "other"


def test_a_provisioned_dashboard_is_never_touched(grafana: Grafana) -> None:
    run("push", grafana.url)
    last = grafana.dashboards["fusion-cost"][-1]
    last["meta"]["provisioned"], last["message"] = True, ""
    refused = run("push", grafana.url, "--force")
    assert refused.exit_code == 1
    assert "change it there" in refused.output
    assert len(grafana.dashboards["fusion-cost"]) == 1


def test_rules_that_others_made_are_left_alone_unless_forced(grafana: Grafana) -> None:
    run("push", grafana.url)
    rules = grafana.groups[GROUP]["rules"]
    rules.append({**rules[0], "uid": "mine", "title": "Mine"})
    rules[1]["provenance"] = ""
    refused = run("push", grafana.url)
    assert refused.exit_code == 1
    assert "edited by hand: FusionJudgeDegraded, Mine" in refused.output
    assert "Mine: removed" in run("diff", grafana.url).output
    assert run("push", grafana.url, "--force").exit_code == 0
    assert {rule["provenance"] for rule in grafana.groups[GROUP]["rules"]} == {"api"}


def test_rules_of_a_file_are_never_touched(grafana: Grafana) -> None:
    run("push", grafana.url)
    for rule in grafana.groups[GROUP]["rules"]:
        rule["provenance"] = "file"
    refused = run("push", grafana.url, "--force")
    assert refused.exit_code == 1
    assert "provisioned by a file" in refused.output


def test_another_data_source_is_overwritten_only_by_force(grafana: Grafana) -> None:
    run("push", grafana.url)
    moved = ("--prometheus", "http://elsewhere:9090")
    refused = run("push", grafana.url, *moved)
    assert refused.exit_code == 1
    assert "data source Prometheus: set up otherwise (--force overwrites it)" in refused.output
    assert run("push", grafana.url, *moved, "--force").exit_code == 0
    assert grafana.data_sources["fusion-prometheus"]["url"] == "http://elsewhere:9090"


def test_a_data_source_that_is_there_can_be_taken(grafana: Grafana) -> None:
    wrong = run("push", grafana.url, "--datasource", "theirs")
    assert wrong.exit_code == 1
    assert "there is none of type prometheus" in wrong.output
    grafana.groups.clear()
    grafana.data_sources["theirs"] = {"id": 1, "uid": "theirs", "name": "Theirs", "type": "prometheus", "version": 1}
    assert run("push", grafana.url, "--datasource", "theirs").exit_code == 0
    assert set(grafana.data_sources) == {"theirs"}
    assert grafana.groups[GROUP]["rules"][0]["data"][0]["datasourceUid"] == "theirs"


def test_objectives_come_from_the_configuration(grafana: Grafana, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        """
backends: {here: {kind: remote, api: openai, base_url: "http://127.0.0.1:9/v1"}}
members: {one: {backend: here, model: one}}
presets: {fusion/one: {mode: best-of, panel: [one], judge: one}}
observability: {prometheus_host: "http://prometheus:9090", alerts: {p99_s: 7.5, budget_usd_per_hour: 2.0}}
"""
    )
    assert run("push", grafana.url, "-c", str(file)).exit_code == 0
    assert grafana.data_sources["fusion-prometheus"]["url"] == "http://prometheus:9090"
    rules = {rule["title"]: rule for rule in grafana.groups[GROUP]["rules"]}
    for name, above in (("FusionLatencyOverObjective", 7.5), ("FusionBudgetBurn", 2.0)):
        (condition,) = rules[name]["data"][1]["model"]["conditions"]
        assert condition["evaluator"]["params"] == [above]


def test_a_failure_on_the_way_says_what_was_done_and_can_be_mended(grafana: Grafana) -> None:
    grafana.fails_on = "/v1/provisioning"
    failed = run("push", grafana.url)
    assert failed.exit_code == 1
    assert "alert rules fusion-cluster: the Grafana" in failed.output
    assert "database is locked" in failed.output
    assert "Before that: made: folder Fusion Cluster; made: data source Prometheus; made: dashboard" in failed.output
    grafana.fails_on = None
    assert run("push", grafana.url).exit_code == 0


@pytest.mark.parametrize("verb", ["push", "diff"])
def test_bad_input_is_a_clear_message_and_nothing_is_done(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def refused(url: str, *more: str) -> str:
        result = run(verb, url, *more)
        assert result.exit_code != 0
        assert grafana.writes() == []
        return result.output.replace("\n", " ")

    assert "there is no Grafana at http://127.0.0.1:9" in refused("http://127.0.0.1:9")
    assert "is not Grafana's address" in refused("grafana:3000")
    assert "holds credentials" in refused(grafana.url.replace("//", "//admin:secret@"))
    assert "secret" not in refused(grafana.url.replace("//", "//admin:secret@"))
    assert "holds no token" in refused(grafana.url, "--token-env", "NO_SUCH_VARIABLE")
    grafana.version = "9.5.21"
    assert "is 9.5.21; 10.0 is the least" in refused(grafana.url)
    grafana.version = "11.6.0"
    grafana.prefix = "/elsewhere"
    assert "refuses" in refused(grafana.url)
    grafana.prefix = ""
    monkeypatch.setenv("GRAFANA_TOKEN", "another")
    assert "does not take the token" in refused(grafana.url)


def test_a_token_that_may_only_look(grafana: Grafana) -> None:
    grafana.viewer = True
    forbidden = run("push", grafana.url)
    assert forbidden.exit_code == 1
    assert "needs the role Editor" in forbidden.output
    assert "Nothing was changed" in forbidden.output
