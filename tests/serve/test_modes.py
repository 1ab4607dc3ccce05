"""Every mode through HTTP: the answer, and the truth of the `fusion` object."""

import httpx
import pytest

from tests.serve.conftest import ask


def test_best_of_returns_the_winner_verbatim(api: httpx.Client) -> None:
    body = ask(api, "fusion/best-of", fusion={"quorum": 3}).raise_for_status().json()

    assert body["object"] == "chat.completion"
    assert body["model"] == "fusion/best-of"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "It is four.", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    fusion = body["fusion"]
    assert (fusion["mode"], fusion["preset"], fusion["judge"]) == ("best-of", "fusion/best-of", "picks")
    verdict = fusion["verdict"]
    assert verdict["winner"] == "four"
    assert verdict["scores"] == {"four": 9.0, "five": 2.0, "six": 2.0}
    assert sorted(verdict["order"]) == ["five", "four", "six"]
    assert [candidate["member"] for candidate in fusion["candidates"]] == ["four", "five", "six"]
    assert {candidate["status"] for candidate in fusion["candidates"]} == {"answered"}
    assert all("content" not in candidate for candidate in fusion["candidates"])
    assert fusion["degraded"] is None
    assert fusion["cost_usd"] is None  # no prices are configured, so no cost is known


def test_usage_is_the_sum_over_every_call(api: httpx.Client) -> None:
    body = ask(api, "fusion/merge", fusion={"quorum": 3}).raise_for_status().json()

    # Three candidates of 10 + 4, 10 + 4 and 10 + 3 tokens, and the judge's 40 + 6.
    assert body["usage"] == {"prompt_tokens": 70, "completion_tokens": 17, "total_tokens": 87}


def test_merge_returns_what_the_judge_model_wrote(api: httpx.Client) -> None:
    body = ask(api, "fusion/merge", fusion={"quorum": 3, "include": ["candidates"]}).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "All things considered: four ✓"
    fusion = body["fusion"]
    assert fusion["verdict"] is None
    assert [candidate["content"] for candidate in fusion["candidates"]] == [
        "It is four.",
        "It is five.",
        "Perhaps six.",
    ]
    timings = fusion["timings_ms"]
    assert 0 < timings["panel"] <= timings["total"]
    assert timings["panel"] + timings["judge"] <= timings["total"] + 1


def test_debate_has_a_rebuttal_round(api: httpx.Client) -> None:
    body = ask(api, "fusion/debate", fusion={"quorum": 3, "rounds": 1}).raise_for_status().json()

    rounds = [candidate["round"] for candidate in body["fusion"]["candidates"]]
    assert rounds == [0, 0, 0, 1, 1, 1]
    assert body["choices"][0]["message"]["content"] == "All things considered: four ✓"


def test_debate_ends_when_the_candidates_agree(api: httpx.Client) -> None:
    body = ask(api, "fusion/debate", fusion={"panel": ["four"], "quorum": 1}).raise_for_status().json()

    assert [candidate["round"] for candidate in body["fusion"]["candidates"]] == [0]


def test_a_debate_can_end_in_a_verdict(api: httpx.Client) -> None:
    options = {"quorum": 3, "rounds": 1, "decision": "best-of", "judge": "picks"}
    body = ask(api, "fusion/debate", fusion=options).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "It is four."
    assert body["fusion"]["verdict"]["winner"] == "four"


def test_a_jury_and_a_rubric_for_one_request(api: httpx.Client) -> None:
    options = {"quorum": 3, "judge": ["picks", "mumbles"], "jury": True, "rubric": {"correct": 3, "brief": 1}}
    body = ask(api, "fusion/best-of", fusion=options).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "It is four."
    verdict = body["fusion"]["verdict"]
    assert (verdict["winner"], verdict["agreed"]) == ("four", True)
    assert verdict["jury"]["points"] == {"four": 2.0, "five": 0.5, "six": 0.5}
    assert verdict["jury"]["abstained"] == {"mumbles": "invalid_verdict"}
    assert body["fusion"]["degraded"] == "jury_incomplete: mumbles (invalid_verdict)"
    assert {"member": "four", "judge": "picks", "bond": "backend"} in verdict["kin"]


def test_an_analysis_comes_with_the_answer_when_asked_for(api: httpx.Client) -> None:
    options = {"quorum": 3, "judge": "analyses", "include": ["analysis"]}
    body = ask(api, "fusion/merge", fusion=options).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "Four it is."
    analysis = body["fusion"]["analysis"]
    assert (analysis["judge"], analysis["error"]) == ("analyses", None)
    assert analysis["consensus"] == [{"text": "It is four.", "members": ["four"]}]
    assert analysis["blind_spots"] == ["Why."]
    assert ask(api, "fusion/merge", fusion={"quorum": 3}).json()["fusion"]["analysis"] is None


def test_a_merge_is_checked_for_harm_when_asked_for(api: httpx.Client) -> None:
    options = {"quorum": 3, "judge": ["writes", "picks"], "no_harm": True}
    body = ask(api, "fusion/merge", fusion=options).raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "All things considered: four ✓"
    check = body["fusion"]["no_harm"]
    assert (check["best"], check["returned"], check["verdict"]["judge"]) == ("four", None, "picks")


@pytest.mark.parametrize("mode", ["best-of", "merge"])
def test_a_winners_tool_calls_come_back_verbatim(api: httpx.Client, mode: str) -> None:
    options = {"mode": mode, "panel": ["tools", "hangs"], "quorum": 1, "judge": "picks", "straggler_grace": 0}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    body = ask(api, "fusion/best-of", fusion=options, tools=tools).raise_for_status().json()

    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert choice["message"]["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]


def test_a_member_answers_alone_without_a_fusion_object(api: httpx.Client) -> None:
    body = ask(api, "five").raise_for_status().json()

    assert body["choices"][0]["message"]["content"] == "It is five."
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    assert "fusion" not in body


def test_openrouters_form_is_understood(api: httpx.Client) -> None:
    plugin = {"id": "fusion", "analysis_models": ["five", "six"], "model": "writes"}
    body = ask(api, "openrouter/fusion", plugins=[plugin]).raise_for_status().json()

    assert body["fusion"]["preset"] == "fusion/merge"
    assert [candidate["member"] for candidate in body["fusion"]["candidates"]] == ["five", "six"]


def test_models_lists_presets_and_members(api: httpx.Client) -> None:
    models = {model["id"]: model for model in api.get("/v1/models").raise_for_status().json()["data"]}

    assert models["fusion/merge"]["fusion"]["panel"] == ["four", "five", "six"]
    assert models["four"]["fusion"]["kind"] == "member"
    assert api.get("/v1/models/fusion/merge").json() == models["fusion/merge"]
    assert api.get("/v1/models/nobody").status_code == 404


def test_health(api: httpx.Client) -> None:
    assert api.get("/healthz").status_code == 200
    ready = api.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert ready.json()["presets"]["fusion/merge"] == {"ready": True}
    assert ready.json()["members"]["four"] == {"ready": True, "breaker": None}


def test_every_response_names_its_request(api: httpx.Client) -> None:
    named = api.get("/healthz", headers={"x-request-id": "my-request"})
    assert named.headers.get_list("x-request-id") == ["my-request"]
    assert len(ask(api, "nobody").headers.get_list("x-request-id")) == 1
