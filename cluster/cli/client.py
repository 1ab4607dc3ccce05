"""HTTP requests of `fusion ask` and `fusion status` to a running service."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.table import Table

TIMEOUT_S = 3600.0


_STATUS_TIMEOUT_S = 10.0


class RequestFailed(Exception):
    """The service cannot be reached, refuses the request or breaks off. The message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a preset or a member of a service."""

    text: str
    model: str
    """A preset's id or a member's name."""
    url: str
    key: str | None = field(repr=False)
    """The service's API key."""


def stream_chunks(question: Question, include: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the chunks of a streamed response. `include` is the request extension `fusion.include`.

    Raises:
        RequestFailed: no response, or one with another status than 200.
    """
    body = _body(question, include) | {"stream": True}
    with (
        _client(question.url, question.key, TIMEOUT_S) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        if response.status_code != 200:
            response.read()
            raise RequestFailed(_error_text(response))
        for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))


def full_response(question: Question) -> dict[str, Any]:
    """Returns the body of an unstreamed response, candidates included.

    Raises:
        RequestFailed: no response, or one with another status than 200.
    """
    with _client(question.url, question.key, TIMEOUT_S) as client:
        response = client.post("/v1/chat/completions", json=_body(question, ["candidates"]))
        if response.status_code != 200:
            raise RequestFailed(_error_text(response))
    return response.json()


def status_tables(url: str, key: str | None) -> tuple[bool, list[Table]]:
    """Returns whether the service is ready, and its presets and members as tables.

    Raises:
        RequestFailed: the service does not list its models.
    """
    with _client(url, key, _STATUS_TIMEOUT_S) as client:
        readiness = client.get("/readyz")
        models = client.get("/v1/models")
    if models.status_code != 200:
        raise RequestFailed(_error_text(models))
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


def _body(question: Question, include: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": question.model, "messages": [{"role": "user", "content": question.text}]}
    # A plain call to a member takes no fusion options. By convention every preset's id has a slash.
    return body | ({"fusion": {"include": include}} if "/" in question.model else {})


@contextmanager
def _client(url: str, key: str | None, timeout_s: float) -> Generator[httpx.Client]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url.removesuffix("/"), headers=headers, timeout=timeout_s) as client:
            yield client
    except httpx.ConnectError as error:
        raise RequestFailed(f"nothing answers at {url}; is `fusion serve` running?") from error
    except httpx.HTTPError as error:
        raise RequestFailed(f"{url}: {type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise RequestFailed(f"{url} is not a URL: {error}") from error


def _error_text(response: httpx.Response) -> str:
    try:
        return f"HTTP {response.status_code}: {response.json()['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"


def _yes(ready: bool) -> str:
    return "[green]yes[/]" if ready else "[red]no[/]"
