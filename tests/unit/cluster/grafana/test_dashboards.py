"""Dashboards and alerts, as far as they can be checked without a Grafana."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.config.monitoring import Objectives
from cluster.grafana.alerts import alerts, grafana_rule, prometheus_rule
from cluster.grafana.manifests import DASHBOARDS
from cluster.grafana.panels import Dashboard, model
from tests.support.queries import everything

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is Debian's package prometheus")


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_every_panel_says_what_it_shows(board: Dashboard) -> None:
    built = model(board)
    ids = [panel["id"] for panel in built["panels"]]
    assert len(ids) == len(set(ids))
    drawn = [panel for panel in built["panels"] if panel["type"] != "row"]
    assert len(drawn) == len([*board.panels()])
    for panel in drawn:
        assert panel["title"]
        assert panel["description"].endswith((".", "client"))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [target["expr"] for target in panel["targets"]]
        assert panel["type"] == "stat" or all(target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    for board in DASHBOARDS:
        cells: set[tuple[int, int]] = set()
        for panel in model(board)["panels"]:
            at = panel["gridPos"]
            x, y = at.get("x", 0), at.get("y", 0)
            mine = {(x + i, y + j) for i in range(at["w"]) for j in range(at["h"])}
            assert not mine & cells, f"{board.uid}: {panel['title']}"
            assert x + at["w"] <= 24
            cells |= mine


def test_rays_dashboard_finds_the_panels_that_it_embeds() -> None:
    """By number: those of its Serve page, of Serve's own state, and of a deployment's page."""
    ids = {board.uid: {panel.id for panel in board.panels() if panel.id is not None} for board in DASHBOARDS}
    assert ids["fusion-overview"] == {7, 8, 15, *range(20, 26)}
    assert ids["fusion-judge"] == {2, 3, 5}


def test_every_metric_of_engines_that_is_asked_for_is_documented() -> None:
    asked = {re.sub("_bucket$", "", name) for query in everything() for name in re.findall(r"ray_vllm_\w+", query)}
    page = (Path(__file__).parents[4] / "docs" / "metrics.md").read_text()
    assert asked == {*re.findall(r"^\| `(ray_vllm_\w+)`", page, re.MULTILINE)}


@promtool
def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"r{index}", "expr": expr} for index, expr in enumerate(everything())]
    file = tmp_path / "rules.yaml"
    group = {"name": "panels", "rules": rules}
    file.write_text(yaml.safe_dump({"groups": [group, *prometheus_rule(alerts(Objectives()))["spec"]["groups"]]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_objectives_are_what_alerts_hold() -> None:
    objectives = Objectives(p99_s=7, degraded_share=0.5, queue_depth=9, budget_usd_per_hour=3)
    above = {alert.name: alert.above for alert in alerts(objectives)}
    assert above["FusionLatencyOverObjective"] == 7
    assert above["FusionJudgeDegraded"] == 0.5
    queue = next(alert for alert in alerts(objectives) if alert.name == "FusionQueueAboveTarget")
    assert queue.expr.endswith(" * 9)")
    assert "target_queue_depth" not in queue.expr
    assert above["FusionBudgetBurn"] == 3


def test_both_kinds_of_rule_come_from_one_definition() -> None:
    found = alerts(Objectives())
    (group,) = prometheus_rule(found)["spec"]["groups"]
    for alert, rule in zip(found, group["rules"], strict=True):
        ours = grafana_rule(alert, "folder", "prometheus")
        assert ours["uid"] == alert.uid
        assert (ours["labels"], ours["annotations"], ours["for"]) == (rule["labels"], rule["annotations"], rule["for"])
        query, above = ours["data"]
        (condition,) = above["model"]["conditions"]
        assert rule["expr"] == f"({query['model']['expr']}) > {condition['evaluator']['params'][0]:g}"


@promtool
def test_an_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    """By Prometheus' own way of testing rules, on series as the application exports them."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(prometheus_rule(alerts(Objectives()))["spec"]))
    of = 'application="fusion",preset="fusion/merge",replica="a"'
    series = {
        f'ray_fusion_requests_total{{{of},outcome="answered",degraded=""}}': "0+60x60",
        f'ray_fusion_requests_total{{{of},outcome="answered",degraded="judge_failed"}}': "0+6x60",
        f'ray_fusion_requests_total{{{of},outcome="no_quorum",degraded=""}}': "_x20 1x40",
        'ray_fusion_member_breaker_state{application="fusion",member="claude",replica="a"}': "0x20 2x40",
        'ray_fusion_member_breaker_state{application="fusion",member="gemini",replica="a"}': "1x60",
        'ray_fusion_judge_running{application="fusion",replica="a"}': "4x60",
        'ray_fusion_judge_running{application="fusion",replica="b"}': "4x60",
        'ray_fusion_judge_queued{application="fusion",replica="a"}': "0x4 1x56",
        'ray_fusion_judge_queued{application="fusion",replica="b"}': "0x60",
        'ray_fusion_judge_target_queue_depth{application="fusion",replica="a"}': "4x60",
        'ray_fusion_judge_target_queue_depth{application="fusion",replica="b"}': "4x60",
        f'ray_fusion_request_duration_seconds_bucket{{{of},le="60"}}': "0+90x60",
        f'ray_fusion_request_duration_seconds_bucket{{{of},le="120"}}': "0+100x60",
        f'ray_fusion_request_duration_seconds_bucket{{{of},le="+Inf"}}': "0+100x60",
        'ray_fusion_cost_usd_total{application="fusion",member="claude",stage="panel"}': "0+0.1x90",
    }
    fires = {
        "FusionNoQuorum": (22, 30),
        "FusionJudgeDegraded": (12, None),
        "FusionBreakerOpen": (23, 10),
        "FusionQueueAboveTarget": (12, 8),
        "FusionLatencyOverObjective": (20, 5),
        "FusionBudgetBurn": (None, 80),
    }
    tests = []
    for name, (after, before) in fires.items():
        for minute, firing in ((after, True), (before, False)):
            if minute is not None:
                tests.append((name, minute, firing))
    for name, minute, firing in tests:
        test = {
            "interval": "1m",
            "input_series": [{"series": each, "values": values} for each, values in series.items()],
            "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": name}],
        }
        (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
        done = subprocess.run(
            ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
        )
        # Nothing is expected to fire, so what fires is a difference.
        assert ("got:[" in done.stdout + done.stderr) == firing, f"{name} at {minute} min\n{done.stdout}{done.stderr}"
