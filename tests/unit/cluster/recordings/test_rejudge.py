"""Recorded panels, judged again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster.recordings.filter import RecordingFilter
from cluster.recordings.folder import RecordingFolder, RecordingsError, Row
from cluster.recordings.rejudge import Rejudged, compare, count_eligible, default_target, rejudge, write_results
from cluster.recordings.replay import NewJudge, replay
from deployments.recordings.row import Content
from fusion.chat import Message, Request
from fusion.errors import MemberUnavailable
from fusion.member import Member, MemberProfile
from fusion.pricing import Price
from fusion.testing import Answer, Fail, ScriptedMember
from tests.support.panels import favouring, shown_answers
from tests.support.recorded import fused_request, panel, recorded

PROFILE = MemberProfile("arbiter", "elsewhere", "arbiter-1", price=Price(10.0, 20.0))


async def rows(folder: Path, *requests: Any, content: Content = "full") -> list[Row]:
    """Requests as they are read back."""
    recorded(folder, requests or [await fused_request()], content, b"key")
    return list(RecordingFolder(str(folder)).rows(RecordingFilter()))


def judge(member: Member, **more: Any) -> NewJudge:
    return NewJudge(member, PROFILE, **more)


async def test_the_panel_is_judged_again_as_it_was_shown_then(tmp_path: Path) -> None:
    members = panel()
    request = await fused_request(members)
    (row,) = await rows(tmp_path, request)
    new = ScriptedMember(favouring("five"), delay_s=3.0)
    replayed = await replay(row, judge(new))
    assert replayed.fused.completion.text == "It is five, or thereabouts."
    assert replayed.fused.verdict
    assert request.fused
    assert request.fused.verdict
    assert replayed.fused.verdict.winner == "bob"
    assert replayed.fused.verdict.order == request.fused.verdict.order
    first_judge = members["judge"]
    assert isinstance(first_judge, ScriptedMember)
    assert shown_answers(new.calls[0]) == shown_answers(first_judge.calls[0])
    assert replayed.fused.timings.judge_ms == pytest.approx(3000)
    (call,) = replayed.judge_calls
    assert call.cost_usd == pytest.approx((10 * 10 + 5 * 20) / 1e6)


async def test_another_mode_and_other_instructions(tmp_path: Path) -> None:
    (row,) = await rows(tmp_path)
    writer = ScriptedMember(Answer("Four, all in all."))
    replayed = await replay(row, judge(writer, mode="merge", guidance="Prefer figures."))
    assert (replayed.fused.mode, replayed.fused.completion.text) == ("merge", "Four, all in all.")
    system = writer.calls[0].request.messages[0]
    assert system.role == "system"
    assert system.text.startswith("Prefer figures.\n\n")


async def test_a_member_of_the_panel_can_judge(tmp_path: Path) -> None:
    (row,) = await rows(tmp_path)
    ada = NewJudge(ScriptedMember(favouring("five")), MemberProfile("ada", "elsewhere", "ada"))
    replayed = await replay(row, ada)
    assert replayed.fused.verdict
    assert (replayed.fused.judge, replayed.fused.verdict.winner) == ("ada", "bob")


async def test_a_debate_is_replayed_round_by_round(tmp_path: Path) -> None:
    members = {
        "ada": ScriptedMember(Answer("It is three."), Answer("It is four now.")),
        "bob": ScriptedMember(Answer("It is five."), Answer("It is five still.")),
        "judge": ScriptedMember(Answer("Four.")),
    }
    (row,) = await rows(tmp_path, await fused_request(members, "debate", rounds=1))
    new = ScriptedMember(Answer("Four, says the arbiter."))
    replayed = await replay(row, judge(new))
    assert [(each.member, each.round) for each in replayed.fused.candidates] == [
        ("ada", 0),
        ("bob", 0),
        ("ada", 1),
        ("bob", 1),
    ]
    assert "It is four now." in new.calls[0].request.messages[-1].text
    assert replayed.fused.completion.text == "Four, says the arbiter."


async def test_all_are_judged_and_compared(tmp_path: Path) -> None:
    requests = [await fused_request(name=f"r{number}", seed=number) for number in range(5)]
    known = await rows(tmp_path, *requests)
    flaky = ScriptedMember(Fail(MemberUnavailable("down")), favouring("four"), favouring("five"), delay_s=1.0)
    done: list[None] = []
    results = await rejudge(iter(known), judge(flaky), 1, 4, lambda: done.append(None))
    assert [result.request_id for result in results] == ["r0", "r1", "r2", "r3"]
    assert len(done) == 4
    found = compare(results)
    assert found.requests == 4
    assert found.failed == Counter({"judge_failed: arbiter (unavailable); the answer is ada's": 1})
    assert (found.compared, found.agreed) == (3, 1)
    assert found.wins == {"bob": (0, 2), "ada": (4, 1)}
    assert found.median_judge_ms == (pytest.approx(400), pytest.approx(1000))
    assert found.judge_cost_usd == (pytest.approx(4 * 20 / 1e6), pytest.approx(3 * 200 / 1e6))
    assert found.mean_answer_similarity == pytest.approx(1 / 3)
    target = default_target(tmp_path, "my/judge")
    write_results(results, target)
    assert target.parent.name == "rejudged"
    (first, *_), metadata = pq.read_table(target).to_pylist(), pq.read_schema(target).metadata
    assert (first["error"], first["winner"], first["old_winner"]) == (next(iter(found.failed)), None, "ada")
    assert metadata[b"kind"] == b"rejudged"
    assert [row["request_id"] for row in RecordingFolder(str(tmp_path)).rows(RecordingFilter())] == [
        f"r{n}" for n in range(5)
    ]


async def test_so_many_are_judged_at_once(tmp_path: Path) -> None:
    known = await rows(tmp_path, *[await fused_request(name=f"r{number}") for number in range(6)])
    most = 0

    class Counting(ScriptedMember):
        async def ask(self, call: Any, emit: Any = None) -> Any:
            nonlocal most
            most = max(most, self.running + 1)
            return await super().ask(call, emit)

    await rejudge(iter(known), judge(Counting(favouring("four"), delay_s=1.0)), 3, 6, lambda: None)
    assert most == 3


@pytest.mark.parametrize("content", ["none", "hash"])
async def test_without_content_nothing_can_be_judged_again(tmp_path: Path, content: Content) -> None:
    await rows(tmp_path, content=content)
    with pytest.raises(RecordingsError, match=r"1 recorded without its content\); .* content: full"):
        count_eligible(RecordingFolder(str(tmp_path)), RecordingFilter(), None)


async def test_what_one_candidate_alone_answered_is_left_out(tmp_path: Path) -> None:
    alone = {"ada": ScriptedMember(), "judge": ScriptedMember()}
    await rows(tmp_path, await fused_request(alone, quorum=1), await fused_request())
    chosen = count_eligible(RecordingFolder(str(tmp_path)), RecordingFilter(), None)
    assert (chosen.requests, chosen.left_out) == (1, Counter({"fewer than two candidates": 1}))


async def test_nothing_a_request_can_hold_stops_the_others(tmp_path: Path) -> None:
    """A request whose recorded form is refused now is reported, and the rest goes on."""
    (row,) = await rows(tmp_path, await fused_request(request=Request((Message("user", "hi"),))))
    broken = {**row, "request": '{"model": "m", "messages": []}', "request_id": "broken"}
    results = await rejudge(iter([broken, row]), judge(ScriptedMember(favouring("four"))), 2, 2, lambda: None)
    by_id: dict[str, Rejudged] = {result.request_id: result for result in results}
    assert by_id["broken"].error == "invalid_request"
    assert by_id["request-1"].winner == "ada"
