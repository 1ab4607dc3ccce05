"""Names of metrics follow Prometheus' conventions, and docs/metrics.md lists every metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployments.judge.metrics import REQUEST_METRICS
from deployments.observability.exporter import JUDGE, MEMBER, RECORDINGS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
FAMILIES = (JUDGE, MEMBER, RECORDINGS)
KINDS = {metric.name: metric.kind for metric in REQUEST_METRICS} | {
    family.prefix + name: family.kind(name) for family in FAMILIES for name in family.descriptions
}
ABBREVIATED = {"s", "sec", "secs", "ms", "us", "ns", "min", "mins", "h", "kb", "mb", "gb", "b", "pct", "perc"}
SCALED = {"milliseconds", "microseconds", "minutes", "hours", "kilobytes", "megabytes", "gigabytes", "percent"}
TIMES = {"duration", "latency", "time", "wait"}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_name_follows_the_conventions(name: str, kind: str) -> None:
    words = name.split("_")
    assert re.fullmatch(r"fusion(_[a-z]+)+", name)
    assert (kind == "counter") == (words[-1] == "total")
    assert not {*words} & (ABBREVIATED | SCALED)
    if kind == "histogram" or {*words} & TIMES:
        assert words[-1] == "seconds" or words[-2:] == ["seconds", "total"]


def test_the_documentation_lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `ray_fusion_\w+` \|.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    requests = [
        f"| `ray_{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} "
        f"| {metric.description} |"
        for metric in REQUEST_METRICS
    ]
    others = [
        f"| `ray_{family.prefix}{name}` | {family.kind(name)} | {description} |"
        for family in FAMILIES
        for name, description in family.descriptions.items()
    ]
    assert rows == requests + others
