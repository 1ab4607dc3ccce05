"""The page about recorded requests."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.recordings.figures import COLUMNS, gather
from cluster.recordings.filter import RecordingFilter
from cluster.recordings.folder import RecordingFolder
from deployments.recordings.row import Content
from fusion.errors import MemberUnavailable
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import favouring
from tests.support.recorded import NOON, fused_request, panel, recorded

DAY_S = 86400.0


async def recorded_requests(folder: Path, content: Content = "full") -> Path:
    """Four requests on three days: a verdict, one by the second judge, a failure, and a lone answer."""
    down = ScriptedMember(Fail(MemberUnavailable("down")))
    replaced = {**panel(), "spare": ScriptedMember(favouring("five"))}
    replaced["judge"] = down
    alone = {"ada": ScriptedMember(Answer("It is four.")), "bob": down, "judge": ScriptedMember()}
    requests = [
        await fused_request(name="one"),
        await fused_request(replaced, name="two", judges=("judge", "spare"), arrived_at=NOON + DAY_S),
        await fused_request({"ada": down, "judge": ScriptedMember()}, name="three", quorum=1, arrived_at=NOON + DAY_S),
        await fused_request(alone, name="four", quorum=1, arrived_at=NOON + 2 * DAY_S),
    ]
    recorded(folder, requests, content, b"key")
    return folder


async def test_the_figures_are_what_was_recorded(tmp_path: Path) -> None:
    folder = RecordingFolder(str(await recorded_requests(tmp_path)))
    found = gather(folder.rows(RecordingFilter(), COLUMNS))
    assert found.requests == 4
    assert found.outcomes == {"answered": 1, "degraded": 2, "failed": 1}
    assert [dict(outcomes) for outcomes in found.by_day.values()] == [
        {"answered": 1},
        {"degraded": 1, "failed": 1},
        {"degraded": 1},
    ]
    assert found.degradations == {"judge_replaced": 1, "single_candidate": 1}
    assert found.errors == {"no_quorum": 1}
    assert {name: (member.wins, member.judged) for name, member in found.members.items()} == {
        "ada": (1, 2),
        "bob": (1, 2),
        "cyd": (0, 0),
    }
    ada = found.members["ada"]
    assert ada.statuses == {"answered": 3, "failed": 1}
    assert ada.latencies_ms[:2] == [pytest.approx(200), pytest.approx(200)]
    assert found.total_ms["fusion/test"][0] == pytest.approx(700)
    assert found.spent_ms["judge"][0] == pytest.approx(400)
    assert found.cost_usd == pytest.approx(3 * 20 / 1e6 + 20 / 1e6)  # the spare judge has no price
    assert found.unpriced == 2
    assert found.agreements == [0, 0]


@pytest.mark.parametrize(("content", "compared_by"), [("full", "text"), ("hash", "hash"), ("none", None)])
async def test_candidates_are_compared_by_what_is_kept_of_them(
    tmp_path: Path, content: Content, compared_by: str | None
) -> None:
    same = {
        "ada": ScriptedMember(Answer("four")),
        "bob": ScriptedMember(Answer("four")),
        "judge": ScriptedMember(favouring("four")),
    }
    recorded(tmp_path, [await fused_request(same)], content, b"key")
    found = gather(RecordingFolder(str(tmp_path)).rows(RecordingFilter(), COLUMNS))
    assert (found.agreements, found.compared_by) == ([] if content == "none" else [1.0], compared_by)


class _Page(HTMLParser):
    """What a browser would load, and which ids and references there are."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value:
                (self.references.add(value[1:]) if value.startswith("#") else self.loads.append(value))
            if name == "id" and value:
                self.ids.append(value)


async def test_the_page_needs_nothing_but_itself_and_holds_no_content(tmp_path: Path) -> None:
    folder = await recorded_requests(tmp_path / "kept")
    (folder / "day=2025-11-25" / "<b>torn.parquet").write_bytes(b"PAR1")
    target = tmp_path / "report.html"
    result = run("--recordings", folder, "-o", target, code=1)
    assert "4 requests in" in result.stderr
    assert "torn.parquet" in result.stderr
    text = target.read_text()
    page = _Page()
    page.feed(text)
    assert page.loads == []
    assert "script" not in page.tags
    assert "@import" not in text
    assert page.tags.count("svg") == 9
    assert page.references <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"#0[1-5]0[0-5]0\d\b", text)  # every stand-in for a colour was replaced
    assert "It is four" not in text
    assert "two and two" not in text
    for shown in (
        "judge_replaced",
        "no answer: no_quorum",
        "1 of 2",
        "fusion/test",
        "mean over all pairs",
        "skipped: &lt;b&gt;torn",
    ):
        assert shown in text


async def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    free = {"ada": ScriptedMember(Answer("a", usage=None)), "bob": ScriptedMember(), "judge": ScriptedMember()}
    recorded(tmp_path, [await fused_request(free, "merge", profiles={})], "none")
    run("--recordings", tmp_path, "-o", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "No cost is known" in text
    assert "How far candidates agree is unknown" in text
    assert "Nothing: no request failed or was degraded." in text


async def test_a_page_about_nothing_is_not_made(tmp_path: Path) -> None:
    await recorded_requests(tmp_path)
    result = run("--recordings", tmp_path, "-o", tmp_path / "report.html", "--preset", "fusion/other", code=1)
    assert "no recording matches" in result.stderr
    assert not (tmp_path / "report.html").exists()


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["recordings", "report", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, result.output
    return result
