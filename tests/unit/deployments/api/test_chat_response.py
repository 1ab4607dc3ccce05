"""What answers look like on this project's own wire."""

from __future__ import annotations

import json

from deployments.api.chat_response import Envelope, candidate_body, fusion_body, usage_body
from fusion.chat import Completion, Delta, Usage
from fusion.results import Assembly, Candidate, Fused, FusedField, LeftOut, TakenBlock, Timings, ToolVote, VotedCall

ENVELOPE = Envelope("id", "fusion/merge", 1)


def test_reasoning_is_kept_apart_from_the_answer() -> None:
    body = ENVELOPE.completion(Completion("4", reasoning="Two and two."), None)
    message = body["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("4", "Two and two.")
    assert "reasoning_content" not in ENVELOPE.completion(Completion("4"), None)["choices"][0]["message"]


def test_reasoning_streams_apart_from_the_answer() -> None:
    chunk = json.loads(ENVELOPE.delta(Delta(reasoning="Two")).removeprefix(b"data: "))
    assert chunk["choices"][0]["delta"] == {"reasoning_content": "Two"}


def test_usage_tells_what_was_told() -> None:
    assert usage_body(None) is None
    assert usage_body(Usage(1, 2)) == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert usage_body(Usage(1, 2, 0, 1)) == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_a_candidate_says_who_stood_in_for_it() -> None:
    stood_in = Candidate("ada", "answered", 1.0, completion=Completion("4", answered_by="bob"))
    assert candidate_body(stood_in, False)["answered_by"] == "bob"
    assert candidate_body(Candidate("ada", "answered", 1.0, completion=Completion("4")), False)["answered_by"] is None


def test_a_plain_answer_says_who_stood_in() -> None:
    completion = Completion("4", answered_by="bob")
    assert ENVELOPE.completion(completion, None)["fusion"] == {"answered_by": "bob"}
    assert b'"fusion":{"answered_by":"bob"}' in ENVELOPE.closing(completion, None, None, include_usage=False)
    assert "fusion" not in ENVELOPE.completion(Completion("4"), None)
    assert ENVELOPE.completion(completion, None, {"mode": "merge"})["fusion"] == {"mode": "merge"}


def test_how_an_answer_was_put_together_is_told() -> None:
    vote = ToolVote("calls", ("ada",), ("bob",), (VotedCall("weather", {"city": 1}),))
    blocks = (TakenBlock("code", "referred", ("ada", "bob")),)
    assembly = Assembly((LeftOut("cyd", "invalid_json"),), vote, (FusedField("/a", "median"),), blocks=blocks)
    fused = Fused(
        completion=Completion("Four it is."),
        mode="merge",
        judge=None,
        candidates=(Candidate("ada", "answered", 1.0, completion=Completion("Four it is.")),),
        verdict=None,
        timings=Timings(1.0, 1.0, None),
        overhead_vs_slowest_member=None,
        usage=Usage(),
        cost_usd=None,
        degraded=None,
        assembly=assembly,
    )
    body = json.loads(json.dumps(fusion_body(fused, "fusion/merge", ["provenance"])))
    assert body["assembly"] == {
        "left_out": [{"member": "cyd", "reason": "invalid_json"}],
        "tool_vote": {
            "decided": "calls",
            "voters": ["ada"],
            "outvoted": ["bob"],
            "calls": [{"function": "weather", "support": {"city": 1}}],
        },
        "fields": [{"path": "/a", "how": "median"}],
        "fell_back_to": None,
        "blocks": [{"kind": "code", "how": "referred", "members": ["ada", "bob"]}],
    }
    assert body["provenance"] == [{"kind": "sentence", "start": 0, "end": 11, "members": ["ada"]}]
    assert "provenance" not in fusion_body(fused, "fusion/merge", [])
