"""How much a member is to think, in each provider's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployments.providers.anthropic.format import AnthropicFormat
from deployments.providers.base import WireFormat
from deployments.providers.gemini.format import GeminiFormat
from deployments.providers.hosts import dialect_of
from deployments.providers.openai.format import OpenAIFormat
from fusion.chat import Effort, Reasoning, Sampling
from fusion.errors import MemberRejected
from fusion.member import MemberProfile
from tests.unit.deployments.providers.wire_cases import sampled

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def body_of(wire: WireFormat, reasoning: Reasoning, **more: Any) -> dict[str, Any]:
    return dict(wire.body(sampled(reasoning=reasoning, **more), "m", stream=False))


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "https://vllm.example/v1"])
def test_openai_and_its_copies_take_an_effort(base_url: str, effort: Effort) -> None:
    wire = OpenAIFormat(dialect_of(base_url))
    assert body_of(wire, Reasoning(effort))["reasoning_effort"] == effort
    with pytest.raises(MemberRejected, match=r"reasoning\.max_tokens"):
        body_of(wire, Reasoning(max_tokens=2000))


def test_openrouter_takes_both_in_its_own_form() -> None:
    wire = OpenAIFormat(dialect_of("https://openrouter.ai/api/v1"))
    assert body_of(wire, Reasoning("low"))["reasoning"] == {"effort": "low"}
    assert body_of(wire, Reasoning(max_tokens=2000))["reasoning"] == {"max_tokens": 2000}


def test_anthropic_takes_an_effort_or_a_budget() -> None:
    wire = AnthropicFormat()
    body = body_of(wire, Reasoning("high"))
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    body = body_of(wire, Reasoning("none"))
    assert body["thinking"] == {"type": "disabled"}
    assert "output_config" not in body
    assert body_of(wire, Reasoning(max_tokens=2000))["thinking"] == {"type": "enabled", "budget_tokens": 2000}


@pytest.mark.parametrize("reasoning", [Reasoning("minimal"), Reasoning(max_tokens=1023), Reasoning(max_tokens=4000)])
def test_anthropic_refuses_what_it_does_not_know(reasoning: Reasoning) -> None:
    with pytest.raises(MemberRejected, match=r"reasoning\.(effort|max_tokens) is not supported by Anthropic"):
        body_of(AnthropicFormat(), reasoning, max_tokens=4000)


def test_gemini_takes_a_level_or_a_budget() -> None:
    def config(reasoning: Reasoning) -> Any:
        return body_of(GeminiFormat(), reasoning)["generationConfig"]["thinkingConfig"]

    assert config(Reasoning("low")) == {"thinkingLevel": "low"}
    assert config(Reasoning("none")) == {"thinkingBudget": 0}
    assert config(Reasoning(max_tokens=2000)) == {"thinkingBudget": 2000}
    with pytest.raises(MemberRejected, match=r"reasoning\.effort is not supported by Gemini"):
        config(Reasoning("max"))


def test_a_members_own_reasoning_is_for_its_answers_alone() -> None:
    profile = MemberProfile("ada", "b", "m", Sampling(temperature=0.5, reasoning=Reasoning("high")))
    call = sampled()
    assert profile.apply_to(call).request.sampling.reasoning == Reasoning("high")
    own = sampled(reasoning=Reasoning("low"))
    assert profile.apply_to(own).request.sampling.reasoning == Reasoning("low")
    judging = profile.apply_to(replace(call, purpose="judge")).request.sampling
    assert (judging.reasoning, judging.temperature) == (None, 0.5)
