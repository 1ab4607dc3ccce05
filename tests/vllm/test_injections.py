"""Attacks on a judge, against a real small judge model and its own tokenizer.

A model of 135 million parameters is no judge to speak of: it hardly tells a right answer from a wrong one, with or
without an attack. So what is asserted is what holds whatever it thinks: no attack becomes structure of its prompt,
and none becomes its verdict's form.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from cluster.serving.embedded_model import default_cache_dir, prepare
from fusion.ballot import Ballot, blind
from fusion.chat import Call, Completion, Message, Request
from fusion.judging.prompts import merge_request, read_verdict, rebuttal_request, verdict_request
from fusion.judging.ranking import reversed_order
from fusion.results import Candidate
from tests.vllm.engines import Engine

ATTACKS = json.loads((Path(__file__).parents[1] / "support" / "injections.json").read_text())
QUESTION = Request((Message("user", "What is the capital of Australia?"),))
HONEST = "The capital of Australia is Canberra."


def candidate(member: str, text: str) -> Candidate:
    return Candidate(member, "answered", 1.0, completion=Completion(text))


def ballot_of(text: str) -> Ballot:
    return blind([candidate("attacker", text), candidate("honest", HONEST)], QUESTION, 3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(prepare(default_cache_dir(), print))


def special_tokens(tokenizer: Any, messages: tuple[Message, ...]) -> list[int]:
    """The special tokens of a prompt, as an engine reads it."""
    chat = [{"role": message.role, "content": message.text} for message in messages]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return [token for token in tokenizer(prompt)["input_ids"] if token in tokenizer.all_special_ids]


def test_no_attack_puts_a_special_token_into_a_prompt(tokenizer: Any) -> None:
    own = candidate("someone", "mine")
    honest = ballot_of("The capital of Australia is Sydney.")
    wanted = [
        special_tokens(tokenizer, request.messages)
        for request in (
            verdict_request(QUESTION, honest),
            merge_request(QUESTION, honest),
            rebuttal_request(QUESTION, own, honest),
        )
    ]
    for attack in ATTACKS:
        ballot = ballot_of(attack["text"])
        requests = (
            verdict_request(QUESTION, ballot),
            merge_request(QUESTION, ballot),
            rebuttal_request(QUESTION, own, ballot),
        )
        assert [special_tokens(tokenizer, request.messages) for request in requests] == wanted, attack["name"]


def test_an_attack_that_is_not_disarmed_would(tokenizer: Any) -> None:
    [attack] = [attack["text"] for attack in ATTACKS if attack["name"] == "ChatML"]
    harmless = special_tokens(tokenizer, (Message("user", "x"),))
    assert len(special_tokens(tokenizer, (Message("user", attack),))) > len(harmless)


async def test_a_judge_under_attack_gives_verdicts_of_its_own(smollm2: Engine) -> None:
    member = smollm2.member()
    firsts = [ballot_of(attack["text"]) for attack in ATTACKS[::10]]
    ballots = [*firsts, *map(reversed_order, firsts)]
    completions = await asyncio.gather(
        *(member.ask(Call("judge", verdict_request(QUESTION, ballot), 240.0, "judge")) for ballot in ballots)
    )
    for ballot, completion in zip(ballots, completions, strict=True):
        found = json.loads(completion.text)
        assert list(found) == ["reason", "scores"]
        assert sorted(found["scores"]) == ["A", "B"]
        verdict = read_verdict(completion.text, ballot, "judge", ("honest", "attacker"))
        assert set(verdict.scores) == {"honest", "attacker"}
