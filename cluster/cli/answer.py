"""Shows the answer of a running service in a terminal, or writes it to a pipe, as it arrives."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table

from cluster.cli.client import Question, RequestFailed, stream_chunks
from cluster.cli.output import notify, stdout

_COLOURS = {"answered": "green", "failed": "red", "cancelled": "yellow", "asked": "cyan"}


@dataclass(slots=True)
class _View:
    """State of a streamed request: what the chunks so far add up to."""

    answer: str = ""
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    judge: str | None = None
    fusion: dict[str, Any] | None = None

    def add(self, chunk: dict[str, Any]) -> str:
        """Adds a chunk; returns the text that it appends to the answer.

        Raises:
            RequestFailed: the chunk is an error.
        """
        if "error" in chunk:
            raise RequestFailed(chunk["error"].get("message", "the stream broke off"))
        fusion: dict[str, Any] = chunk.get("fusion") or {}
        if "event" in fusion:
            self._add_event(fusion["event"])
        elif fusion:
            self.fusion = fusion
        choices: list[dict[str, Any]] = chunk.get("choices") or []
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        self.answer += text
        return text

    def _add_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "panel_convened":
                for member in event["members"]:
                    self.candidates[member] = {"status": "asked", "content": "", "round": event["round"]}
            case "candidate_delta":
                self.candidates[event["member"]]["content"] += event["delta"]["content"]
            case "candidate_ended":
                candidate = event["candidate"]
                # A member that cannot take the request was not convened.
                self.candidates.setdefault(candidate["member"], {}).update(candidate)
            case "judge_asked":
                self.judge = event["judge"]
            case _:
                pass  # a newer service may send other events

    def render(self, show_candidates: bool) -> RenderableType:
        """Returns the view for a terminal."""
        parts: list[RenderableType] = []
        if show_candidates and self.candidates:
            table = Table(expand=True, show_lines=True)
            table.add_column("member", no_wrap=True)
            table.add_column("status", no_wrap=True)
            table.add_column("candidate", ratio=1, overflow="fold")
            for member, candidate in self.candidates.items():
                status = candidate["status"]
                took = f"\n{candidate['latency_ms'] / 1000:.1f} s" if "latency_ms" in candidate else ""
                error: dict[str, Any] = candidate.get("error") or {}
                shown = candidate.get("content") or error.get("message") or ""
                table.add_row(member, f"[{_COLOURS.get(status, 'white')}]{status}[/]{took}", shown)
            parts.append(table)
        if self.answer or self.judge:
            title = f"judged by {self.judge}" if self.judge else None
            parts.append(Panel(Markdown(self.answer or "…"), title=title, title_align="left"))
        return Group(*parts) if parts else "asking the panel…"


def show_live(question: Question, show_candidates: bool) -> None:
    """Asks a question and shows the candidates and the answer while they arrive.

    Outside of a terminal, standard output gets the answer alone, as a stream.

    Raises:
        RequestFailed: there is no complete answer.
    """
    view = _View()
    include = ["events", "candidates"] if show_candidates else ["events"]
    if stdout.is_terminal:
        with Live(view.render(show_candidates), console=stdout, refresh_per_second=12) as live:
            for chunk in stream_chunks(question, include):
                view.add(chunk)
                live.update(view.render(show_candidates))
    else:
        for chunk in stream_chunks(question, include):
            sys.stdout.write(view.add(chunk))
            sys.stdout.flush()
        sys.stdout.write("\n")
        if show_candidates:
            for member, candidate in view.candidates.items():
                notify(f"[{member}] {candidate['status']}: {candidate.get('content') or ''}")
    if view.fusion is not None:
        notify(_summary(view.fusion), "dim")


def _summary(fusion: dict[str, Any]) -> str:
    verdict = fusion["verdict"]
    what = f"{verdict['winner']} won" if verdict else fusion["mode"]
    overhead = fusion["overhead_vs_slowest_member"]
    parts = [
        f"{what}, judged by {fusion['judge']}" if fusion["judge"] else what,
        f"{fusion['timings_ms']['total'] / 1000:.1f} s",
        f"{overhead:+.0%} over the slowest member" if overhead is not None else "",
        f"{fusion['cost_usd']:.6f} US$" if fusion["cost_usd"] is not None else "",
        fusion["degraded"] or "",
    ]
    return " · ".join(part for part in parts if part)
