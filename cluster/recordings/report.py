"""Renders a report on recordings as one self-contained HTML page."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from statistics import quantiles

from cluster.recordings import plots
from cluster.recordings.figures import Figures
from cluster.recordings.show import milliseconds

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Fusion report</title>
<style>
:root {{
  color-scheme: light dark; --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2330; --muted: #5b6675; --line: #e3e7ed;
  --good: #2e9e7d; --warn: #e0a030; --bad: #cf4d54; --grey: #9aa4b2;
  --s1: #3b74d9; --s2: #d97a35; --s3: #2f9c95; --s4: #b24c8c;
  --s5: #7a63cf; --s6: #8c8a2f; --s7: #54708f; --s8: #a4543f;
}}
@media (prefers-color-scheme: dark) {{ :root {{
  --page: #12161d; --card: #1a202a; --ink: #e7ebf1; --muted: #9ba7b6; --line: #2c3542;
  --good: #4cc2a0; --warn: #f0bd5c; --bad: #ee7b80; --grey: #758194;
  --s1: #7aa6f5; --s2: #f0a066; --s3: #5cc8c0; --s4: #dd84bb;
  --s5: #a996f0; --s6: #c2bf63; --s7: #8fadcf; --s8: #d98c76;
}} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 var(--font); }}
main {{ max-width: 1120px; margin: 0 auto; padding: 32px 20px 48px; }}
h1 {{ margin: 0; font-size: 26px; letter-spacing: -0.01em; }}
h2 {{ margin: 36px 0 12px; font-size: 18px; }}
h3 {{ margin: 0 0 2px; font-size: 15px; }}
p {{ margin: 0; color: var(--muted); }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px; margin-top: 20px; }}
.tile, figure {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px; }}
.tile {{ padding: 12px 16px; }}
.tile b {{ display: block; font-size: 23px; font-weight: 600; font-variant-numeric: tabular-nums; }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px; }}
figure {{ margin: 0; padding: 16px 18px 8px; }}
figure p {{ font-size: 13px; margin-bottom: 6px; }}
figure.wide {{ grid-column: 1 / -1; }}
svg {{ width: 100%; height: auto; display: block; }}
.scroll {{ overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 8px 14px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th {{ color: var(--muted); font-weight: 500; font-size: 13px; }}
th:first-child, td:first-child {{ text-align: left; }}
tr:last-child td {{ border-bottom: 0; }}
td.words {{ white-space: normal; min-width: 160px; }}
footer {{ margin-top: 32px; font-size: 13px; color: var(--muted); }}
</style>
</head>
<body><main>
<h1>Fusion report</h1>
<p>{period}</p>
<div class="tiles">{tiles}</div>
{sections}
<footer>{notes}</footer>
</main></body>
</html>
"""


def page(figures: Figures, notes: list[str]) -> str:
    """Render the report. `notes` appear at its end, such as files that were skipped."""
    period = " to ".join(f"{time:%-d %B %Y, %H:%M}" for time in (figures.first, figures.last) if time) + " UTC"
    sections = [
        _section("Requests", [_wide("How they ended", "by day (UTC)", plots.requests_by_day(figures))]),
        _section("Latency", _latency(figures)) if figures.total_ms else "",
        _section("Cost", _cost(figures)),
        _section("Judging", _judging(figures)),
        _section("Members", [_wide("How their candidates ended", "in every round", plots.outcomes_by_member(figures))])
        + _members_table(figures),
        _section("What went wrong", _wrong(figures)),
    ]
    made = f"made {datetime.now(UTC):%-d %B %Y, %H:%M} UTC from {figures.requests:,} recorded requests"
    return _PAGE.format(
        period=period,
        tiles="".join(
            f'<div class="tile"><p>{name}</p><b>{escape(value)}</b></div>' for name, value in _tiles(figures)
        ),
        sections="".join(sections),
        notes="<br>".join(map(escape, [made, *notes])),
    )


def _tiles(figures: Figures) -> list[tuple[str, str]]:
    times = [time for of_preset in figures.total_ms.values() for time in of_preset]
    good = figures.outcomes["answered"] + figures.outcomes["degraded"]
    return [
        ("requests", f"{figures.requests:,}"),
        ("answered", f"{good / figures.requests:.1%}"),
        ("degraded", f"{figures.outcomes['degraded'] / figures.requests:.1%}"),
        ("latency, median", milliseconds(quantile(times, 50))),
        ("latency, p99", milliseconds(quantile(times, 99))),
        ("over the slowest member", _percent(quantile(figures.overheads, 50))),
        ("cost, where known", f"${figures.cost_usd:,.4f}" if figures.unpriced < figures.requests else "-"),
    ]


def _latency(figures: Figures) -> list[str]:
    rows = [
        [preset, f"{len(times):,}", *(milliseconds(quantile(times, share)) for share in (50, 90, 99))]
        for preset, times in sorted(figures.total_ms.items())
    ]
    return [
        _figure("Answered within", "share of requests, from arrival to answer", plots.latency_curves(figures)),
        _figure("Where the time goes", "mean of answered requests", plots.where_time_goes(figures)),
        _table(["preset", "answered", "median", "p90", "p99"], rows),
    ]


def _cost(figures: Figures) -> list[str]:
    if not figures.cost_by_day:
        return ["<p>No cost is known: members have no price, or providers reported no usage.</p>"]
    unknown = f"; {figures.unpriced:,} requests have an unknown cost" if figures.unpriced else ""
    parts = [_wide("By day and stage", f"US dollars, where known{unknown}", plots.cost_by_day(figures))]
    if any(member.cost_usd for member in figures.members.values()):
        parts.append(_wide("By member", "candidates only, without judging", plots.cost_by_member(figures)))
    return parts


def _judging(figures: Figures) -> list[str]:
    parts: list[str] = []
    if any(member.judged for member in figures.members.values()):
        parts.append(_figure("Wins", "share of the verdicts about a member's candidates", plots.wins(figures)))
    if figures.agreements:
        by = (
            "words in common, mean over all pairs" if figures.compared_by == "text" else "equal or not, by their hashes"
        )
        about = f"{len(figures.agreements):,} panels: {by}"
        parts.append(_figure("Agreement of the candidates", about, plots.agreement(figures)))
    else:
        parts.append("<p>How far candidates agree is unknown: that needs content: full, or hash.</p>")
    return parts


def _wrong(figures: Figures) -> list[str]:
    if not figures.degradations and not figures.errors:
        return ["<p>Nothing: no request failed or was degraded.</p>"]
    return [_wide("Degraded and failed", "requests, by reason", plots.degradations(figures))]


def _members_table(figures: Figures) -> str:
    rows: list[list[str]] = []
    for name, member in sorted(figures.members.items(), key=lambda pair: -pair[1].statuses.total()):
        total = member.statuses.total()
        cost = f"${member.cost_usd:.4f}" if member.unpriced < member.statuses["answered"] else "-"
        rows.append(
            [
                name,
                f"{total:,}",
                *(f"{member.statuses[status] / total:.1%}" for status in ("answered", "failed", "cancelled")),
                *(milliseconds(quantile(member.latencies_ms, share)) for share in (50, 99)),
                f"{member.tokens:,}",
                cost,
                f"{member.wins} of {member.judged}" if member.judged else "-",
                ", ".join(f"{code} {count}" for code, count in member.errors.most_common(3)) or "-",
            ]
        )
    names = [
        "member",
        "candidates",
        "answered",
        "failed",
        "cancelled",
        "median",
        "p99",
        "tokens",
        "cost",
        "wins",
        "errors",
    ]
    return f'<div style="height:16px"></div>{_table(names, rows)}'


def _section(title: str, parts: list[str]) -> str:
    return f'<h2>{title}</h2><div class="grid">{"".join(parts)}</div>'


def _figure(title: str, about: str, svg: str, kind: str = "") -> str:
    return f'<figure class="{kind}"><h3>{escape(title)}</h3><p>{escape(about)}</p>{svg}</figure>'


def _wide(title: str, about: str, svg: str) -> str:
    return _figure(title, about, svg, "wide")


def _table(names: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}{_words(cell)}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll" style="grid-column: 1 / -1"><table>{line(names, "th")}{body}</table></div>'


def _words(cell: str) -> str:
    return ' class="words"' if ", " in cell else ""


def quantile(values: list[float], percent: int) -> float | None:
    """The percentile of the values, None if there are none."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"
