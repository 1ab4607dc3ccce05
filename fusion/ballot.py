"""Candidates without names, as a judge model is shown them.

Letters stand for names, in an order drawn from the task's seed (models favour positions, arXiv 2306.05685, and their
own text, arXiv 2404.13076). What candidates wrote stands between lines that carry a random fence which none of them
can know beforehand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from fusion.chat import Message, Request
from fusion.results import Candidate
from fusion.text.sanitize import mark_lines

MAX_CANDIDATES = len(ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Ballot:
    """Candidates without names: `candidates[i]` goes by the label `labels[i]`."""

    candidates: tuple[Candidate, ...]
    labels: tuple[str, ...]
    fence: str
    seed: int

    @property
    def last_line(self) -> str:
        """The line that closes the last answer, wherever the ballot is shown."""
        return fenced(f"answer {self.labels[-1]}", "", self.fence).rpartition("\n")[2]


def blind(candidates: Sequence[Candidate], request: Request, seed: int, prefilled: Sequence[str] = ()) -> Ballot:
    """Shuffle and label the candidates, and draw a fence that occurs in none of them nor in the conversation.

    The candidates of the members in `prefilled` come first, in that order; neither their labels nor the fence depend on
    those that come after them.
    """
    order = list(candidates)
    random.Random(seed).shuffle(order)
    places = {member: place for place, member in enumerate(prefilled)}
    order.sort(key=lambda candidate: places.get(candidate.member, len(places)))
    draw = random.Random(~seed)
    texts = [answer_text(candidate) for candidate in order] + [message_text(message) for message in request.messages]
    fence = f"{draw.getrandbits(64):016x}"
    texts += [mark_lines(text) for text in texts]
    while any(fence in text for text in texts):
        fence = f"{draw.getrandbits(64):016x}"
    return Ballot(tuple(order), tuple(ascii_uppercase[: len(order)]), fence, seed)


def fenced(title: str, text: str, fence: str) -> str:
    return f"<{title} {fence}>\n{text}\n</{title} {fence}>"


def message_text(message: Message) -> str:
    calls = [f"calls {call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join([*([message.text] if message.text else []), *calls])


def answer_text(candidate: Candidate) -> str:
    completion = candidate.completion
    if completion is None:
        return ""
    return message_text(Message("assistant", completion.text, tool_calls=completion.tool_calls))
