"""What an observer is told of a fused request, and that looking on changes nothing."""

from __future__ import annotations

from contextvars import ContextVar

from fusion.chat import Call, Completion, Usage
from fusion.errors import MemberUnavailable
from fusion.member import Emit
from fusion.pricing import Price
from fusion.progress import CandidateEnded, JudgeAsked, JudgeEnded, PanelConvened, Progress
from fusion.runtime.runner import fuse
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import favouring, profile, scene

STAGE: ContextVar[str] = ContextVar("stage", default="none")


class Notes:
    """An observer that keeps what it is told, and says in a context variable where the request is."""

    def __init__(self) -> None:
        self.told_of: list[Progress | JudgeEnded] = []

    def on_event(self, event: Progress | JudgeEnded) -> None:
        self.told_of.append(event)
        if isinstance(event, PanelConvened):
            STAGE.set(f"round {event.round}")
        elif isinstance(event, JudgeAsked):
            STAGE.set("judge")


class SaysItsStage:
    """A member that answers with the context that its call was made in."""

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        assert emit is None  # nobody watches
        return Completion(STAGE.get())


async def test_an_observer_is_told_of_every_judge_model_with_its_time_and_cost() -> None:
    members = {
        "ada": ScriptedMember(Answer("four")),
        "bob": ScriptedMember(Answer("five")),
        "down": ScriptedMember(Fail(MemberUnavailable("refused")), delay_s=0.5),
        "judge": ScriptedMember(favouring("four"), delay_s=2.0),
    }
    notes = Notes()
    priced = {"judge": profile("judge", price=Price(1.0, 2.0))}
    task, pool = scene(members, judges=("down", "judge"), quorum=2, profiles=priced)
    await fuse(task, pool, observers=[notes])
    assert [type(event) for event in notes.told_of] == [
        PanelConvened,
        CandidateEnded,
        CandidateEnded,
        JudgeAsked,
        JudgeEnded,
        JudgeAsked,
        JudgeEnded,
    ]
    down, judge = (event for event in notes.told_of if isinstance(event, JudgeEnded))
    assert (down.judge, down.latency_ms, down.cost_usd) == ("down", 500, None)
    assert down.outcome == MemberUnavailable("refused").as_failure()
    assert (judge.judge, judge.latency_ms, judge.cost_usd) == ("judge", 2000, (10 + 2 * 5) / 1e6)
    assert isinstance(judge.outcome, Completion)
    assert judge.outcome.usage == Usage(10, 5)


async def test_what_an_observer_sets_in_the_context_holds_in_the_calls() -> None:
    task, pool = scene({"ada": SaysItsStage(), "bob": SaysItsStage(), "judge": SaysItsStage()}, "merge", quorum=2)
    fused = await fuse(task, pool, observers=[Notes()])
    assert [candidate.completion.text for candidate in fused.candidates if candidate.completion] == ["round 0"] * 2
    assert fused.completion.text == "judge"
