"""A Mixtral whose shards are on two nodes says what one in a single piece says, and fused answers come through it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.nodes.conftest import Nodes


def _ask(nodes: Nodes, model: str, question: str, **more: Any) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 24,
        **more,
    }
    reply = httpx.post(f"{nodes.url}/v1/chat/completions", json=body, timeout=240)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_each_shard_is_on_a_node_of_its_own(nodes: Nodes) -> None:
    shards = nodes.of("CpuWorker")
    assert len(shards) == len(set(shards)) == 2


def test_replicas_are_spread_over_the_nodes(nodes: Nodes) -> None:
    replicas = nodes.of("ServeReplica:fusion:vllm:whole")
    assert len(replicas) == len(set(replicas)) == 2


@pytest.mark.parametrize("question", ["Tell me of the sea.", "Is 91 prime?", "word " * 300])
def test_split_over_two_nodes_it_says_the_same_as_whole(nodes: Nodes, question: str) -> None:
    split, whole = (_ask(nodes, member, question) for member in ("split", "whole"))
    assert split["choices"] == whole["choices"]
    assert split["usage"] == whole["usage"]
    assert split["usage"]["completion_tokens"] > 1


@pytest.mark.parametrize("mode", ["best-of", "merge"])
def test_a_fused_answer_comes_through_both(nodes: Nodes, mode: str) -> None:
    answer = _ask(nodes, f"fusion/{mode}", "Tell me of the sea.", fusion={"include": ["candidates"]})
    fused = answer["fusion"]
    assert fused["degraded"] is None
    assert fused["judge"] == "split"
    assert [each["status"] for each in fused["candidates"]] == ["answered", "answered"]
    said = {each["content"] for each in fused["candidates"]}
    assert len(said) == 2
    assert (answer["choices"][0]["message"]["content"] in said) == (mode == "best-of")
