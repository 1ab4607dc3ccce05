"""Formats recordings for a terminal."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from cluster.recordings.filter import RecordingFilter
from cluster.recordings.folder import RecordingFolder, RecordingsError, Row

_LISTED = (
    "request_id",
    "mode",
    "degraded",
    "error_code",
    "winner",
    "judge",
    "total_ms",
    "overhead_vs_slowest_member",
    "cost_usd",
    "candidates.status",
)


_COLOURS = {"answered": "green", "failed": "red", "cancelled": "yellow"}


def newest(folder: RecordingFolder, selected: RecordingFilter, limit: int) -> list[Row]:
    """Find the latest `limit` of the selected recordings, the newest first, without their content."""
    return heapq.nlargest(limit, folder.rows(selected, _LISTED), key=lambda row: row["arrived_at"])


def find(folder: RecordingFolder, selected: RecordingFilter, name: str) -> Row:
    """Find the recording whose request id begins with `name`, or whose trace id is `name`.

    Raises:
        RecordingsError: there is none, or more than one.
    """
    found = [
        row for row in folder.rows(selected) if row["request_id"].startswith(name) or (row["trace_id"] or "") == name
    ]
    exact = [row for row in found if row["request_id"] == name]
    if not found:
        raise RecordingsError(f"no recorded request has the id {name}")
    if len(found) > 1 and len(exact) != 1:
        ids = ", ".join(row["request_id"] for row in found[:5])
        raise RecordingsError(f"{len(found)} recorded requests begin with {name}: {ids}; give more of the id")
    return (exact or found)[0]


def summary_table(rows: Iterable[Row]) -> Table:
    """A table with one line for each recording."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("arrived (UTC)", "request", "preset", "mode", "outcome", "won or judged by"):
        table.add_column(column, overflow="fold")
    for column in ("answered", "total", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("degraded", overflow="fold")
    for row in rows:
        statuses = [candidate["status"] for candidate in row["candidates"] or ()]
        table.add_row(
            f"{row['arrived_at']:%Y-%m-%d %H:%M:%S}",
            escape(row["request_id"]),
            row["preset"],
            row["mode"],
            _coloured(row["outcome"]),
            row["winner"] or row["judge"] or "-",
            f"{statuses.count('answered')} of {len(statuses)}",
            milliseconds(row["total_ms"]),
            dollars(row["cost_usd"]),
            escape(row["degraded"] or row["error_code"] or ""),
        )
    return table


def details(row: Row) -> RenderableType:
    """Everything known about one request."""
    about = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    about.add_column(style="dim", no_wrap=True)
    about.add_column(overflow="fold")
    for name, value in _about(row):
        about.add_row(name, value if name == "outcome" else escape(value))
    parts: list[RenderableType] = [about, _outcomes("candidates", row["candidates"], "member")]
    if row["judge_calls"]:
        parts.append(_outcomes("judge models", row["judge_calls"], "judge"))
    parts += map(_verdict, row["verdicts"] or ())
    for title, text in (("asked", row["request"]), ("answered", row["content"])):
        if text:
            parts.append(Panel(escape(text), title=title, title_align="left"))
    if row["request"] is None:
        parts.append("[dim]prompts and answers were not recorded: that needs content: full[/]")
    return Group(*parts)


def _about(row: Row) -> list[tuple[str, str]]:
    total = (
        f"{milliseconds(row['total_ms'])}: {milliseconds(row['queued_ms'])} before the panel, "
        f"{milliseconds(row['panel_ms'])} panel, {milliseconds(row['judge_ms'])} judge"
    )
    overhead = row["overhead_vs_slowest_member"]
    tokens = f"{row['input_tokens']} in, {row['output_tokens']} out" if row["input_tokens"] is not None else "-"
    ends = [row["degraded"], row["error_message"]]
    return [
        ("request", row["request_id"]),
        ("trace", row["trace_id"] or "-"),
        ("arrived", f"{row['arrived_at']:%Y-%m-%d %H:%M:%S.%f} UTC"),
        (
            "preset",
            f"{row['preset']}, {row['mode']} of {', '.join(row['panel'])}, judged by {', '.join(row['judges'])}",
        ),
        ("outcome", " ".join([_coloured(row["outcome"]), *(escape(end) for end in ends if end)])),
        ("time", total + ("" if overhead is None else f" ({overhead:+.0%} over the slowest member)")),
        ("tokens", tokens),
        ("cost", dollars(row["cost_usd"])),
        ("seed", str(row["seed"])),
        ("configuration", row["config_hash"] or "-"),
    ]


def _outcomes(title: str, calls: Sequence[dict[str, Any]], who: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=True)
    for column in (who, "status"):
        table.add_column(column, no_wrap=True)
    for column in ("latency", "tokens", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("content", ratio=1, overflow="fold")
    for call in calls:
        tokens = "-" if call["output_tokens"] is None else f"{call['input_tokens']}+{call['output_tokens']}"
        name = call[who] + (f" ({call['answered_by']})" if call["answered_by"] else "")
        round_name = f", round {call['round']}" if call.get("round") else ""
        text = call["error_message"] or call["content"] or call["tool_calls"] or ""
        cells = (milliseconds(call["latency_ms"]), tokens, dollars(call["cost_usd"]))
        table.add_row(escape(name), _coloured(call["status"]) + round_name, *cells, escape(text))
    return table


def _verdict(verdict: dict[str, Any]) -> str:
    scores = ", ".join(f"{each['member']} {_score(each['score'])}" for each in verdict["scores"])
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    return escape(f"{verdict['winner']} won by {verdict['judge']}'s verdict ({scores}){reason}")


def milliseconds(value: float | None) -> str:
    """Format milliseconds: `340 ms`, or `1.20 s` from a second on; `-` for None."""
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def dollars(value: float | None) -> str:
    """Format US dollars; `-` for None."""
    return "-" if value is None else f"${value:.6f}"


def _coloured(outcome: str) -> str:
    return f"[{_COLOURS.get(outcome, 'white')}]{outcome}[/]"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:g}"
