"""Several judge models asked in one step: who is waited for, who is stopped, and what is paid and told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from fusion.chat import Completion
from fusion.errors import JudgeInterrupted, MalformedReply, MemberUnavailable
from fusion.member import Member
from fusion.modes import MODES
from fusion.modes.convene import convene
from fusion.presets import Task
from fusion.progress import JudgeAsked, JudgeEnded, Progress
from fusion.results import Failure, Fused
from fusion.runtime.runner import fuse
from fusion.steps import AskJudge, Decision, Outcome, Run
from fusion.testing import Answer, CutOff, Fail, Hang, IgnoreCancellation, ScriptedMember
from tests.support.panels import QUESTION, Recorder, scene


def ask(judge: str, share: float = 1.0, *, streams: bool = False, stage: str = "judge") -> AskJudge:
    return AskJudge(judge, QUESTION, share, streams, stage)


async def asked(
    monkeypatch: pytest.MonkeyPatch,
    judges: Mapping[str, Member],
    asks: Sequence[AskJudge],
    *,
    jurors: int = 0,
    grace: float = 0.0,
    watcher: Recorder | None = None,
    observers: Sequence[Notes] = (),
) -> tuple[Fused, tuple[Outcome, ...]]:
    """A panel of one and then these asks: the result, and the outcomes."""
    heard: list[tuple[Outcome, ...]] = []

    async def mode(run: Run, task: Task) -> Decision:
        answers = await convene(run, task, None)
        heard.append(await run.ask_judges(asks, jurors=jurors, grace=grace))
        first = next((outcome for outcome in heard[-1] if isinstance(outcome, Completion)), None)
        completion = first or answers.candidates[0].completion
        assert completion is not None
        return Decision(completion=completion)

    monkeypatch.setattr("fusion.runtime.runner.MODES", {**MODES, "best-of": mode})
    members = {"ada": ScriptedMember(Answer("four")), **judges}
    task, pool = scene(members, judges=tuple(judges), deadline_s=20)
    fused = await fuse(task, pool, watcher=watcher, observers=observers)
    return fused, heard[0]


class Notes:
    def __init__(self) -> None:
        self.judging: list[JudgeAsked | JudgeEnded] = []

    def on_event(self, event: Progress | JudgeEnded) -> None:
        if isinstance(event, JudgeAsked | JudgeEnded):
            self.judging.append(event)


def texts(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.code if isinstance(outcome, Failure) else outcome.text for outcome in outcomes]


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_all_run_at_once_and_come_back_in_the_order_they_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    began_at = now()
    judges = {
        "slow": ScriptedMember(Answer("slow"), delay_s=3),
        "down": ScriptedMember(Fail(MemberUnavailable("refused")), delay_s=2),
        "fast": ScriptedMember(Answer("fast"), delay_s=1),
    }
    notes = Notes()
    asks = [ask("slow"), ask("down"), ask("fast", stage="analysis")]
    fused, outcomes = await asked(monkeypatch, judges, asks, observers=[notes])
    assert texts(outcomes) == ["slow", "unavailable", "fast"]
    assert now() - began_at == pytest.approx(3)
    assert fused.timings.judge_ms == pytest.approx(3000)
    assert [(spent.stage, spent.calls) for spent in fused.stages] == [("panel", 1), ("analysis", 1), ("judge", 1)]
    assert notes.judging[:3] == [
        JudgeAsked("slow", 1),
        JudgeAsked("down", 2),
        JudgeAsked("fast", 3, "analysis"),
    ]
    ended = [event for event in notes.judging[3:] if isinstance(event, JudgeEnded)]
    assert [(event.judge, event.number, round(event.latency_ms)) for event in ended] == [
        ("fast", 3, 1000),
        ("down", 2, 2000),
        ("slow", 1, 3000),
    ]


async def test_each_has_its_own_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    began_at = now()
    judges = {"hangs": ScriptedMember(Hang()), "slow": ScriptedMember(Answer("slow"), delay_s=8)}
    _, outcomes = await asked(monkeypatch, judges, [ask("hangs", 0.25), ask("slow", 0.5), ask("slow", 0)])
    assert texts(outcomes) == ["timeout", "slow", "timeout"]
    assert now() - began_at == pytest.approx(8)
    assert (judges["hangs"].running, judges["hangs"].cancelled, len(judges["slow"].calls)) == (0, 1, 1)


async def test_one_beside_the_others_is_not_waited_for_but_cancelled_and_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began_at = now()
    judges = {"first": ScriptedMember(Answer("first"), delay_s=2), "late": ScriptedMember(Answer("late"), delay_s=3)}
    judges["fast"] = ScriptedMember(Answer("fast"), delay_s=1)
    asks = [ask("first"), replace(ask("late"), beside=True), replace(ask("fast"), beside=True)]
    _, outcomes = await asked(monkeypatch, judges, asks)
    assert texts(outcomes) == ["first", "timeout", "fast"]
    assert texts(outcomes[1:2]) == ["timeout"]
    assert now() - began_at == pytest.approx(2)
    assert (judges["late"].running, judges["late"].cancelled) == (0, 1)


async def test_a_jurys_stragglers_have_a_grace_and_others_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    began_at = now()
    judges = {
        "one": ScriptedMember(Answer("one"), delay_s=1),
        "two": ScriptedMember(Answer("two"), delay_s=2),
        "three": ScriptedMember(Hang()),
        "writer": ScriptedMember(Answer("written"), delay_s=6),
    }
    asks = [ask("one"), ask("two"), ask("three"), ask("writer")]
    _, outcomes = await asked(monkeypatch, judges, asks, jurors=3, grace=0.5)
    assert texts(outcomes) == ["one", "two", "timeout", "written"]
    assert now() - began_at == pytest.approx(6)
    assert judges["three"].cancelled == 1
    began_at = now()
    _, outcomes = await asked(monkeypatch, judges, asks[:3], jurors=3, grace=0.5)
    assert now() - began_at == pytest.approx(3)


async def test_one_streams_and_the_others_do_not_get_into_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Recorder()
    judges = {
        "beside": ScriptedMember(Answer("not a word")),
        "writer": ScriptedMember(Answer("It is four.", piece_delay_s=1)),
    }
    asks = [ask("writer", 0.1, streams=True), ask("beside")]
    _, outcomes = await asked(monkeypatch, judges, asks, watcher=watcher)
    assert texts(outcomes) == ["It is four.", "not a word"]
    assert watcher.text == "It is four."


async def test_a_stream_that_breaks_off_ends_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    judges = {
        "beside": ScriptedMember(Hang()),
        "writer": ScriptedMember(CutOff(["It is"], MalformedReply("cut off"))),
    }
    with pytest.raises(JudgeInterrupted):
        await asked(monkeypatch, judges, [ask("beside"), ask("writer", streams=True)], watcher=Recorder())
    assert (judges["beside"].running, judges["beside"].cancelled) == (0, 1)


async def test_one_that_will_not_stop_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    began_at = now()
    judges = {"first": ScriptedMember(Answer("first")), "stubborn": ScriptedMember(IgnoreCancellation(5))}
    await asked(monkeypatch, judges, [ask("first"), replace(ask("stubborn"), beside=True)])
    assert now() - began_at < 1
    await asyncio.sleep(6)


async def test_when_the_client_goes_away_all_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    judges = {"one": ScriptedMember(Hang()), "other": ScriptedMember(Hang())}
    request = asyncio.create_task(asked(monkeypatch, judges, [ask("one"), ask("other")]))
    await asyncio.sleep(1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert [(judge.running, judge.cancelled) for judge in judges.values()] == [(0, 1), (0, 1)]
