"""Asking a running service from a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table

TIMEOUT_S = 3600.0


_STATUS_TIMEOUT_S = 10.0


_COLOURS = {"answered": "green", "failed": "red", "cancelled": "yellow", "asked": "cyan"}


class AskFailed(Exception):
    """There is no answer. The message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask whom. `key` is the service's API key."""

    text: str
    model: str
    url: str
    key: str | None = field(repr=False)


@dataclass(slots=True)
class _View:
    """What is known of a fused request so far."""

    answer: str = ""
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    judge: str | None = None
    fusion: dict[str, Any] | None = None

    def take(self, chunk: dict[str, Any]) -> str:
        """Note what a chunk says; returns the piece of the answer in it."""
        if "error" in chunk:
            raise AskFailed(chunk["error"].get("message", "the stream broke off"))
        fusion: dict[str, Any] = chunk.get("fusion") or {}
        if "event" in fusion:
            self._note(fusion["event"])
        elif fusion:
            self.fusion = fusion
        choices: list[dict[str, Any]] = chunk.get("choices") or []
        piece = "".join(choice["delta"].get("content") or "" for choice in choices)
        self.answer += piece
        return piece

    def _note(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "panel_convened":
                for member in event["members"]:
                    self.candidates[member] = {"status": "asked", "content": "", "round": event["round"]}
            case "candidate_delta":
                self.candidates[event["member"]]["content"] += event["delta"]["content"]
            case "candidate_ended":
                candidate = event["candidate"]
                # One that cannot take the request was never asked.
                self.candidates.setdefault(candidate["member"], {}).update(candidate)
            case "judge_asked":
                self.judge = event["judge"]
            case _:
                pass  # a newer service may tell of more

    def drawn(self, show_candidates: bool) -> RenderableType:
        """The view as it is shown in a terminal."""
        parts: list[RenderableType] = []
        if show_candidates and self.candidates:
            table = Table(expand=True, show_lines=True)
            table.add_column("member", no_wrap=True)
            table.add_column("status", no_wrap=True)
            table.add_column("candidate", ratio=1, overflow="fold")
            for member, candidate in self.candidates.items():
                state = candidate["status"]
                took = f"\n{candidate['latency_ms'] / 1000:.1f} s" if "latency_ms" in candidate else ""
                error: dict[str, Any] = candidate.get("error") or {}
                shown = candidate.get("content") or error.get("message") or ""
                table.add_row(member, f"[{_COLOURS.get(state, 'white')}]{state}[/]{took}", shown)
            parts.append(table)
        if self.answer or self.judge:
            title = f"judged by {self.judge}" if self.judge else None
            parts.append(Panel(Markdown(self.answer or "…"), title=title, title_align="left"))
        return Group(*parts) if parts else "asking the panel…"


def ask_live(question: Question, show_candidates: bool) -> None:
    """Ask, with the candidates filling in and the answer streaming below.

    Where standard output is not a terminal, the answer alone goes there, as it comes.
    """
    view = _View()
    include = ["events", "candidates"] if show_candidates else ["events"]
    terminal = Console()
    aside = Console(stderr=True, highlight=False, emoji=False)
    if terminal.is_terminal:
        with Live(view.drawn(show_candidates), console=terminal, refresh_per_second=12) as live:
            for chunk in _stream(question, include):
                view.take(chunk)
                live.update(view.drawn(show_candidates))
    else:
        for chunk in _stream(question, include):
            sys.stdout.write(view.take(chunk))
            sys.stdout.flush()
        sys.stdout.write("\n")
        if show_candidates:
            for member, candidate in view.candidates.items():
                aside.print(f"[{member}] {candidate['status']}: {candidate.get('content') or ''}", markup=False)
    if view.fusion is not None:
        aside.print(_summary(view.fusion), style="dim", markup=False)


def ask_as_json(question: Question) -> str:
    """Ask, and return the whole response, candidates included."""
    with _client(question.url, question.key, TIMEOUT_S) as client:
        reply = client.post("/v1/chat/completions", json=_body(question, ["candidates"]))
        if reply.status_code != 200:
            raise AskFailed(_refusal(reply))
    return json.dumps(reply.json(), indent=2, ensure_ascii=False)


def status_tables(url: str, key: str | None) -> tuple[bool, list[Table]]:
    """Whether the service is ready, and its presets and members as tables."""
    with _client(url, key, _STATUS_TIMEOUT_S) as client:
        readiness = client.get("/readyz")
        models = client.get("/v1/models")
    if models.status_code != 200:
        raise AskFailed(_refusal(models))
    state: dict[str, Any] = readiness.json()
    presets = Table("preset", "mode", "panel", "judge", "ready", title="presets", title_justify="left")
    members = Table("member", "backend", "model", "ready", title="members", title_justify="left")
    for model in models.json()["data"]:
        about = model["fusion"]
        if about["kind"] == "preset":
            up = state["presets"][model["id"]]["ready"]
            presets.add_row(model["id"], about["mode"], ", ".join(about["panel"]), ", ".join(about["judges"]), _yes(up))
        else:
            members.add_row(model["id"], about["backend"], about["model"], _yes(state["members"][model["id"]]["ready"]))
    return bool(state["ready"]), [presets, members]


def _stream(question: Question, include: list[str]) -> Iterator[dict[str, Any]]:
    body = _body(question, include) | {"stream": True}
    with (
        _client(question.url, question.key, TIMEOUT_S) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as reply,
    ):
        if reply.status_code != 200:
            reply.read()
            raise AskFailed(_refusal(reply))
        for line in reply.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))


def _body(question: Question, include: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": question.model, "messages": [{"role": "user", "content": question.text}]}
    # A member has no panel to tell of; every preset's id has a slash by convention, a member's may not.
    return body | ({"fusion": {"include": include}} if "/" in question.model else {})


@contextmanager
def _client(url: str, key: str | None, timeout_s: float) -> Generator[httpx.Client]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url.removesuffix("/"), headers=headers, timeout=timeout_s) as client:
            yield client
    except httpx.ConnectError as error:
        raise AskFailed(f"nothing answers at {url}; is `fusion serve` running?") from error
    except httpx.HTTPError as error:
        raise AskFailed(f"{url}: {type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise AskFailed(f"{url} is not a URL: {error}") from error


def _refusal(reply: httpx.Response) -> str:
    try:
        return f"HTTP {reply.status_code}: {reply.json()['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {reply.status_code}"


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


def _yes(ready: bool) -> str:
    return "[green]yes[/]" if ready else "[red]no[/]"
