"""The queries in docs/recordings.md, run as they are written there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import duckdb
import pytest

from tests.support.recorded import fused_request, recorded

PAGE = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requests in the folder that the page speaks of, and what must not be taken for one."""

    async def requests() -> list[object]:
        return [await fused_request(name=f"r{number}") for number in range(3)]

    recorded(tmp_path / "recordings", asyncio.run(requests()))  # type: ignore[arg-type]
    (tmp_path / "recordings" / "day=2025-11-25" / ".20251125T130000-r1-00001.arrows").write_bytes(b"being written")
    monkeypatch.chdir(tmp_path)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_duckdb() -> None:
    by_preset, by_member = (duckdb.sql(query).fetchall() for query in blocks("sql"))
    ((preset, requests, p50_ms, p99_ms, usd),) = by_preset
    assert (preset, requests) == ("fusion/test", 3)
    assert 600 < p50_ms <= p99_ms
    assert usd == pytest.approx(3 * 3 * 20 / 1e6)
    assert [row[:3] for row in by_member] == [("ada", "answered", 3), ("bob", "answered", 3), ("cyd", "failed", 3)]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_pandas_and_polars(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (block for block in blocks("python") if f"import {library}" in block)
    exec(compile(code, "docs/recordings.md", "exec"), {})
    shown = capsys.readouterr().out
    assert re.search(r"best-of +ada +3" if library == "pandas" else r"ada +┆ 0.00006 +┆ 3", shown), shown
