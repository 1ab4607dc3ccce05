"""Panels of scripted members, and what to ask of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fusion.chat import Call, Completion, Delta, Message, Request
from fusion.member import Member, MemberProfile
from fusion.presets import AgreementPolicy, DecisionMode, Policy, Pool, Preset, Task
from fusion.pricing import Price
from fusion.progress import CandidateEnded, CandidateGrew, JudgeAsked, PanelConvened, Progress
from fusion.results import Candidate, Fused, Mode
from fusion.runtime.runner import fuse
from fusion.testing import Reply
from fusion.text.sanitize import MARK

QUESTION = Request((Message("user", "What is two and two?"),))

JUDGED_ANYWAY = AgreementPolicy(short=False)

_ANSWER = re.compile(r"<answer ([A-Z]) ([0-9a-f]{16})>\n(.*?)\n</answer \1 \2>", re.DOTALL)


def answered(member: str, text: str = "yes", **attributes: Any) -> Candidate:
    """An answered candidate."""
    return Candidate(member, "answered", 10.0, completion=Completion(text, **attributes))


def profile(name: str, origin: str | None = None, price: Price | None = None) -> MemberProfile:
    """A member of its own model, or of the model `origin`."""
    return MemberProfile(name, "scripted", origin or name, price=price)


def scene(
    members: Mapping[str, Member],
    mode: Mode = "best-of",
    *,
    judges: Sequence[str] = ("judge",),
    quorum: int | None = None,
    grace: float = 0.5,
    deadline_s: float = 60.0,
    rounds: int = 1,
    decision: DecisionMode = "merge",
    request: Request = QUESTION,
    seed: int = 7,
    profiles: Mapping[str, MemberProfile] | None = None,
    agreement: AgreementPolicy = JUDGED_ANYWAY,
    both_orders: bool = False,
    **more: Any,
) -> tuple[Task, Pool]:
    """A task for a panel of all members but the judges, and the pool that it needs. Every panel is judged, whether it
    agrees or not, and in one order, unless a test is about that. What is more goes to the preset or else the task."""
    panel = tuple(name for name in members if name not in judges)
    policy = Policy(quorum, grace, deadline_s)
    settings = {name: more.pop(name) for name in Preset.__slots__ if name in more}
    preset = Preset(
        "fusion/test", mode, panel, tuple(judges), policy, rounds, decision, agreement, both_orders, **settings
    )
    known = {name: profile(name) for name in members} | dict(profiles or {})
    return Task(preset, request, known, seed, **more), Pool(members, known)


async def fused(
    members: Mapping[str, Member], mode: Mode = "best-of", *, watcher: Recorder | None = None, **settings: Any
) -> Fused:
    """What a panel of these members makes of the question."""
    task, pool = scene(members, mode, **settings)
    return await fuse(task, pool, watcher=watcher)


def shown_answers(call: Call) -> dict[str, str]:
    """The fenced answers that a call shows, by label, without the marks of their lines."""
    found = _ANSWER.findall(call.request.messages[-1].text)
    return {label: "\n".join(line.removeprefix(MARK) for line in text.split("\n")) for label, _, text in found}


def favouring(text: str) -> Reply:
    """A judge that gives 9 to the answer with this text and 3 to every other."""

    def verdict(call: Call) -> str:
        scores = ", ".join(f'"{label}": {9 if text in shown else 3}' for label, shown in shown_answers(call).items())
        return f'{{"reason": "it is best", "scores": {{{scores}}}}}'

    return Reply(verdict)


class Recorder:
    """A watcher that keeps everything it is told, in order."""

    def __init__(self, *, watches_candidates: bool = False) -> None:
        self.watches_candidates = watches_candidates
        self.told: list[Progress | Delta] = []

    def on_delta(self, delta: Delta) -> None:
        self.told.append(delta)

    def on_progress(self, event: Progress) -> None:
        self.told.append(event)

    @property
    def deltas(self) -> list[Delta]:
        return [told for told in self.told if isinstance(told, Delta)]

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def story(self) -> list[str]:
        """What happened, a line each."""
        return [_line(told) for told in self.told]


def _line(told: Progress | Delta) -> str:
    match told:
        case PanelConvened(members, number):
            return f"round {number} asks {' '.join(members)}"
        case CandidateGrew(member, number, delta):
            return f"{member} writes {delta.text!r} in round {number}"
        case CandidateEnded(candidate):
            return f"{candidate.member} {candidate.status} in round {candidate.round}"
        case JudgeAsked(judge):
            return f"{judge} is asked"
        case Delta(text):
            return f"answer {text!r}"
