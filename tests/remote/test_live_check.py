"""`fusion check --live`, against servers that answer well, badly and not at all."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster.cli import probe as probe_module
from cluster.cli.probe import probe
from cluster.config.loader import load
from tests.remote.upstream import Action, Asked, Stall, reply, streamed, upstream
from tests.unit.cluster.cli.test_main import run

KEY = "sk-a-very-secret-key"
GOOD = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
STREAM = (
    b'data: {"choices":[{"delta":{"content":"ok"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


def refused(status: str, code: str) -> list[Action]:
    return [reply({"error": {"message": f"{KEY} {code}", "code": code}}, status)]


def answer(asked: Asked) -> Sequence[Action]:
    """A provider with a model for each way of answering."""
    model = asked.body["model"]
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return refused("401 Unauthorized", "invalid_api_key")
    if model == "nobody":
        return refused("404 Not Found", "model_not_found")
    if model == "mute":
        return [reply({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]})]
    if model == "broken":
        return [reply("", "500 Internal Server Error")]
    if model == "busy":
        return refused("429 Too Many Requests", "rate_limited")
    if model == "hangs" or (model == "hangs-streaming" and asked.body.get("stream")):
        return [Stall()]
    if model == "untooled" and "tools" in asked.body:
        return refused("400 Bad Request", "tools_unsupported")
    if asked.body.get("stream"):
        return [reply("{}", content_type="text/html")] if model == "unstreamed" else streamed(STREAM)
    return [reply(GOOD)]


def config_of(url: str, tmp_path: Path, *members: dict[str, Any], **backends: dict[str, Any]) -> Path:
    """A configuration with the members m0, m1, ..., at the backend `api` unless they say otherwise."""
    (tmp_path / "key").write_text(KEY)
    api = {"kind": "remote", "base_url": f"{url}/v1", "api_key_file": str(tmp_path / "key")}
    file = tmp_path / "c.yaml"
    config = {
        "backends": {"api": api, **backends},
        "members": {f"m{index}": {"backend": "api", **member} for index, member in enumerate(members)},
        "presets": {"fusion/merge": {"mode": "merge", "panel": ["m0"], "judge": "m0"}},
    }
    file.write_text(json.dumps(config))  # JSON is YAML
    return file


def dead_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


@pytest.mark.parametrize(
    ("model", "found", "notes"),
    [
        ("good", (True, True, True, True, True), ()),
        ("untooled", (True, True, True, True, False), ("tools: HTTP 400 (tools_unsupported)",)),
        ("unstreamed", (True, True, True, False, True), ("streaming: the reply is not text/event-stream",)),
        ("nobody", (True, True, False, None, None), ("HTTP 404 (model_not_found)",)),
        ("mute", (True, True, True, None, None), ("neither text nor tool calls (finish reason stop)",)),
        ("broken", (True, None, None, None, None), ("HTTP 500",)),
        ("busy", (True, None, None, None, None), ("HTTP 429 (rate_limited)",)),
    ],
)
async def test_what_is_found(
    model: str, found: tuple[bool | None, ...], notes: tuple[str, ...], tmp_path: Path
) -> None:
    async with upstream(by=answer) as server:
        (result,) = await probe(load(config_of(server.url, tmp_path, {"model": model})))
        assert len(server.asked) == (3 if result.passed else 1)
    assert result.notes == notes
    told = (result.reachable, result.key_valid, result.model_known, result.streams, result.tools)
    assert told == found
    assert result.passed == (result.latency_ms is not None) == (found[3] is not None)


async def test_a_key_that_is_refused_or_cannot_be_read(tmp_path: Path) -> None:
    def key(text: str) -> dict[str, Any]:
        file = tmp_path / f"key {len(list(tmp_path.iterdir()))}"
        file.write_text(text)
        return {"kind": "remote", "base_url": f"{server.url}/v1", "api_key_file": str(file)}

    async with upstream(by=answer) as server:
        others = {"wrong": key("sk-another"), "empty": key(" "), "typed": key("sk-ü"), "broken": key("a\nb")}
        others["keyless"] = {"kind": "remote", "base_url": f"{server.url}/v1"}
        members = [{"model": "m", "backend": name} for name in others]
        results = await probe(load(config_of(server.url, tmp_path, *members, **others)))
    assert [result.key_valid for result in results] == [False] * 5
    assert [result.reachable for result in results] == [True, None, None, None, True]
    assert not any(result.passed for result in results)
    assert "is unset or empty" in results[1].notes[0]
    for result in results[2:4]:
        assert result.notes[0].endswith("has characters that cannot be sent in a header")


async def test_an_api_that_needs_no_key(tmp_path: Path) -> None:
    async with upstream(by=lambda asked: streamed(STREAM) if asked.body.get("stream") else [reply(GOOD)]) as server:
        open_api = {"kind": "remote", "base_url": f"{server.url}/v1"}
        file = config_of(server.url, tmp_path, {"model": "m", "backend": "open"}, open=open_api)
        (result,) = await probe(load(file))
    assert (result.reachable, result.key_valid, result.passed) == (True, None, True)


async def test_a_port_at_which_nothing_listens(tmp_path: Path) -> None:
    (result,) = await probe(load(config_of(f"http://127.0.0.1:{dead_port()}", tmp_path, {"model": "good"})))
    assert (result.reachable, result.key_valid, result.passed) == (False, None, False)
    assert result.notes[0].startswith("no connection")


async def test_what_hangs_is_given_up_in_time_and_holds_nothing_else_up(tmp_path: Path) -> None:
    members = [{"model": model} for model in ("hangs", "good", "hangs-streaming")]
    async with upstream(by=answer) as server:
        began_at = asyncio.get_running_loop().time()
        silent, good, half = await probe(load(config_of(server.url, tmp_path, *members)), total_s=0.5)
        assert asyncio.get_running_loop().time() - began_at < 3.0
    assert (silent.reachable, silent.passed) == (None, False)
    assert silent.notes[0].startswith("no answer within")
    assert (good.passed, good.streams) == (True, True)
    assert (half.passed, half.streams, half.tools) == (True, None, True)
    assert half.notes[0].startswith("streaming: no answer within")


@pytest.mark.parametrize(("limits", "asked"), [({"concurrency": 1}, 1), ({}, 7)])
async def test_a_backends_limit_is_kept(limits: dict[str, int], asked: int, tmp_path: Path) -> None:
    """Whoever waits for the one that hangs is not asked."""
    async with upstream(by=answer) as server:
        key = str(tmp_path / "key")
        api = {"kind": "remote", "base_url": f"{server.url}/v1", "api_key_file": key, "limits": limits}
        members = [{"model": model, "backend": "limited"} for model in ("hangs", "good", "better")]
        results = await probe(load(config_of(server.url, tmp_path, *members, limited=api)), total_s=0.5)
        assert len(server.asked) == asked
    assert [result.passed for result in results] == [False, asked > 1, asked > 1]
    assert ("not probed: no time left" in results[1].notes) == (asked == 1)


async def test_members_that_share_a_model_are_one_line_and_prices_must_all_be_known(tmp_path: Path) -> None:
    price = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
    members = [{"model": "a", "price": price}, {"model": "b", "price": price}, {"model": "b"}]
    async with upstream(by=answer) as server:
        results = await probe(load(config_of(server.url, tmp_path, *members)))
    assert [(result.members, result.price_known) for result in results] == [
        (("m0",), True),
        (("m1", "m2"), False),
    ]


async def test_the_command_prints_a_plain_table_and_no_key(tmp_path: Path) -> None:
    own = {"kind": "vllm", "model": "x/y", "accelerator": "cpu"}
    members: list[dict[str, Any]] = [{"model": model} for model in ("good", "untooled")]
    members.append({"backend": "own"})
    async with upstream(by=answer) as server:
        file = config_of(server.url, tmp_path, *members, own=own)
        result = await asyncio.to_thread(run, "check", "-c", str(file), "--live")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    titles = " ".join(rows["member"])
    assert titles == "member backend reachable key valid model known streams tools latency price known"
    assert rows["m0"][:7] == ["m0", "api", "yes", "yes", "yes", "yes", "yes"]
    assert rows["m0"][8:] == ["ms", "no"]
    assert rows["m1"][2:7] == ["yes", "yes", "yes", "yes", "no"]
    assert rows["m2"][1:] == ["own", "-", "-", "-", "-", "-", "-", "no"]
    assert "m1: tools: HTTP 400 (tools_unsupported)\n" in result.stdout
    assert "m2: not probed: an engine of our own\n" in result.stdout
    assert "m0: answered in" in result.stderr
    assert KEY not in result.output


@pytest.mark.parametrize("model", ["nobody", "mute", "broken"])
async def test_the_command_fails_when_one_cannot_answer(model: str, tmp_path: Path) -> None:
    async with upstream(by=answer) as server:
        file = config_of(server.url, tmp_path, {"model": "good"}, {"model": model})
        result = await asyncio.to_thread(run, "check", "-c", str(file), "--live")
    assert result.exit_code == 1
    assert "m1: no answer" in result.stderr
    assert KEY not in result.output


async def test_nobody_is_asked_without_the_option_or_with_a_bad_configuration(tmp_path: Path) -> None:
    async with upstream(by=answer) as server:
        file = config_of(server.url, tmp_path, {"model": "good"})
        assert (await asyncio.to_thread(run, "check", "-c", str(file))).exit_code == 0
        file = config_of(server.url, tmp_path, {"model": "good", "backend": "none"})
        assert (await asyncio.to_thread(run, "check", "-c", str(file), "--live")).exit_code == 2
        assert server.connections == 0


def test_a_terminal_of_80_columns_shows_every_column_whole() -> None:
    result = probe_module.ProbeResult(("ada",), "openrouter", True, True, *[True] * 5, 12345.0)
    console = Console(width=80, record=True, force_terminal=True, file=io.StringIO())
    console.print(probe_module._table([result], probe_module.box.SIMPLE_HEAD))
    text = console.export_text()
    assert "…" not in text
    heads, row = text.splitlines()[1:3], text.splitlines()[4]
    assert " ".join(heads).split() == [
        *["key", "model", "price"],
        *["member", "backend", "reachable", "valid", "known", "streams", "tools", "latency", "known"],
    ]
    assert row.split()[1:] == ["openrouter", *["yes"] * 5, "12345", "ms", "yes"]


def test_the_help_teaches() -> None:
    said = " ".join(run("check", "--help").stdout.split())
    assert "--live" in said
    assert "Engines of your own are not probed" in said
