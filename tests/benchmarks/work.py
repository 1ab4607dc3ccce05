"""What every contender is asked: how long the upstream's models take, and how many clients ask at once."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

MEMBERS = ("a", "b", "c")
JUDGE = "judge"
PANEL = "panel"
"""A model that is asked in three steps by a contender that knows only one: three answers at once, then critique and
answer, which share the judge model's time."""

CHUNKS = 64
"""The pieces that a streamed answer comes in."""
CHUNK_GAP_S = 0.002

_MIX_MEDIAN_S = 0.040
_MIX_SIGMA = 0.6
_STRAGGLERS = 0.03
_STRAGGLES_S = 1.5

Scenario = Literal["fixed", "zero", "mix", "slow", "long"]
_LATENCIES_S: dict[str, dict[str, float]] = {
    "fixed": {"a": 0.020, "b": 0.040, "c": 0.080, JUDGE: 0.040},
    "zero": {"a": 0.0, "b": 0.0, "c": 0.0, JUDGE: 0.0},
    "slow": {"a": 4.0, "b": 4.0, "c": 4.0, JUDGE: 4.0},
    "long": {"a": 15.0, "b": 15.0, "c": 15.0, JUDGE: 15.0},
}


def latency_s(scenario: str, model: str, question: int) -> float:
    """How long a model takes for a question: the same whoever asks."""
    if scenario == "mix":
        if model == JUDGE:
            return 0.040
        draw = random.Random(f"{model}{question}")
        slow = _STRAGGLES_S if draw.random() < _STRAGGLERS else 0.0
        return slow + _MIX_MEDIAN_S * math.exp(draw.gauss(0.0, _MIX_SIGMA))
    return _LATENCIES_S[scenario][model]


def critical_path_s(scenario: str, question: int) -> float:
    """The time that asking every member at once, and then the judge model, takes at least."""
    return max(latency_s(scenario, member, question) for member in MEMBERS) + latency_s(scenario, JUDGE, question)


def question_text(scenario: str, question: int) -> str:
    """A question as a client words it; the upstream finds the scenario and the number in it again."""
    return f"[{scenario} q={question}] {_QUESTION}"


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do: `clients` ask one question after the other for `for_s` seconds, or, when that is None, one
    question each, all at once. `seen_at_least` is how many of the three candidates have to be in an answer."""

    name: str
    scenario: Scenario
    clients: int
    for_s: float | None
    stream: bool = False
    seen_at_least: int = 3


WORKS = (
    Work("fixed, 1 client", "fixed", 1, 6.0),
    Work("fixed, 32 clients", "fixed", 32, 8.0),
    Work("zero latency, 32 clients", "zero", 32, 8.0),
    Work("stream, 1 client", "fixed", 1, 6.0, stream=True),
    Work("stream, 32 clients", "fixed", 32, 8.0, stream=True),
    Work("mix with stragglers, 16 clients", "mix", 16, 10.0, seen_at_least=2),
    Work("1000 in flight", "slow", 1000, None),
)

_QUESTION = (
    "A service answers eight thousand requests a second from forty replicas. Each replica takes two hundred requests "
    "at a time. How long does a request take on average if every replica is full, and what changes when a fifth of the "
    "replicas are lost while the load stays what it is? Answer briefly, and say which law you have used."
)
