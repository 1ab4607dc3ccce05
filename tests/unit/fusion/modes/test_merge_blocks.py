"""A judge model that refers to a block: what clients, the merge's check and the report see of it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace

import pytest

from fusion.ballot import blind
from fusion.chat import Call, Completion, Delta
from fusion.errors import JudgeInterrupted
from fusion.judging.prompts import merge_request
from fusion.member import Emit
from fusion.modes.merge import merge_prefill
from fusion.results import Candidate, Mode, TakenBlock
from fusion.runtime.prefill import prefix_of
from fusion.testing import Answer, CutOff, MalformedReply, Reply, ScriptedMember
from fusion.text.provenance import provenance
from tests.support.panels import QUESTION, Recorder, answered, fused, scene, shown_answers

CODE = "```make\nall:\n\techo 1  \n```"
COPIED = "```make\nall:\n    echo 1\n```"
ADA = f"Use this:\n\n{CODE}\n"
BOB = "Use make."


def reference(call: Call) -> str:
    """The first reference in what a judge model is shown."""
    found = re.search(r"\[\[[A-Z]\d+-[0-9a-f]+\]\]", call.request.messages[-1].text)
    assert found
    return found[0]


@dataclass
class Referring:
    """Writes what comes of the reference that it is shown, in pieces of so many characters."""

    text: str
    size: int = 1

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        text = self.text.replace("REF", reference(call))
        for start in range(0, len(text), self.size):
            if emit:
                emit(Delta(text[start : start + self.size]))
            await asyncio.sleep(0)
        return Completion(text)


def members(judge: object, **more: str) -> dict[str, object]:
    texts = {"ada": ADA, "bob": BOB, **more}
    return {**{name: ScriptedMember(Answer(text)) for name, text in texts.items()}, "judge": judge}


async def merged(judge: object, mode: Mode = "merge", watcher: Recorder | None = None, **settings: object):  # type: ignore[no-untyped-def]
    return await fused(members(judge), mode, quorum=2, watcher=watcher, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("text", ["REF", f"REF\n{CODE}"])
async def test_the_block_comes_out_byte_for_byte_streamed_or_not(size: int, text: str) -> None:
    judge = Referring(f"So:\n\n{text}\n\nDone.", size)
    watcher = Recorder()
    result = await merged(judge, watcher=watcher)
    assert result.completion.text == watcher.text == f"So:\n\n{CODE}\n\nDone."
    assert (await merged(judge)).completion.text == watcher.text
    assert result.assembly is not None
    assert result.assembly.blocks == (TakenBlock("code", "referred", ("ada",)),)
    assert ("ada",) in [part.members for part in provenance(result) if part.kind == "code"]
    assert all("[[" not in delta.text for delta in watcher.deltas)


async def test_a_block_that_the_judge_model_writes_itself_stays_as_it_wrote_it() -> None:
    watcher = Recorder()
    result = await merged(ScriptedMember(Answer(COPIED)), watcher=watcher)
    assert result.completion.text == watcher.text == COPIED
    assert result.assembly is None


async def test_a_judge_is_told_of_references_where_there_are_blocks_and_only_there() -> None:
    judge = ScriptedMember(Answer("Done."))
    await merged(judge)
    asked = judge.calls[0]
    assert f"{reference(asked)}\n{CODE}" in asked.request.messages[-1].text
    assert asked.request.messages[-1].text.count(reference(asked)) == 2
    plain = ScriptedMember(Answer("Done."))
    await fused(members(plain, ada="Use ant."), "merge", quorum=2)  # type: ignore[arg-type]
    assert "[[" not in plain.calls[0].request.messages[-1].text
    task, _ = scene(members(plain, ada="Use ant."), "merge")  # type: ignore[arg-type]
    drafts = [answered("ada", "Use ant."), answered("bob", BOB)]
    assert plain.calls[0].request == merge_request(QUESTION, blind(drafts, QUESTION, task.seed))


async def test_without_verbatim_a_judges_words_are_left_alone() -> None:
    judge, watcher = ScriptedMember(Answer(COPIED)), Recorder()
    result = await merged(judge, watcher=watcher, verbatim=False)
    assert result.completion.text == watcher.text == COPIED
    assert result.assembly is None
    assert "[[" not in judge.calls[0].request.messages[-1].text


async def test_a_debate_that_ends_in_a_merge_takes_blocks_over() -> None:
    watcher = Recorder()
    result = await merged(Referring("REF"), "debate", watcher)
    assert result.completion.text == watcher.text == CODE


async def test_the_merge_that_is_checked_has_its_blocks_in() -> None:
    compared: list[str] = []

    def judge(call: Call) -> str:
        if call.request.response_schema is None:
            return f"So:\n\n{reference(call)}"
        shown = shown_answers(call)
        compared.extend(shown.values())
        return json.dumps({"reason": "", "scores": {label: 9 if "So:" in text else 2 for label, text in shown.items()}})

    result = await merged(ScriptedMember(Reply(judge)), no_harm=True)
    assert result.completion.text == f"So:\n\n{CODE}"
    assert f"So:\n\n{CODE}" in compared
    assert result.assembly is not None


async def test_a_judge_that_names_nothing_but_blocks_that_there_are_not_gives_way() -> None:
    def nothing(call: Call) -> str:
        return reference(call).replace("1-", "99-")

    watcher = Recorder()
    judges = {"judge": ScriptedMember(Reply(nothing)), "deputy": ScriptedMember(Answer("Done."))}
    panel = {name: ScriptedMember(Answer(text)) for name, text in (("ada", ADA), ("bob", BOB))}
    result = await fused({**panel, **judges}, "merge", judges=tuple(judges), quorum=2, watcher=watcher)
    assert result.completion.text == watcher.text == "Done."
    assert result.degraded == "judge_replaced: judge (empty_completion)"


async def test_what_was_held_back_when_a_judge_breaks_off_is_handed_on() -> None:
    watcher = Recorder()
    with pytest.raises(JudgeInterrupted):
        await merged(ScriptedMember(CutOff(["So:\n [[A1-", "0"], MalformedReply("cut"))), watcher=watcher)
    assert watcher.text == "So:\n [[A1-0"


async def test_a_prompt_that_is_read_ahead_begins_as_the_final_one_whoever_has_blocks() -> None:
    task, _ = scene(members(ScriptedMember()), "merge", quorum=2)  # type: ignore[arg-type]
    task = replace(task, preset=replace(task.preset, panel=("ada", "bob", "cyd")))
    candidates: list[Candidate] = [answered("ada", ADA), answered("bob", BOB), answered("cyd", f"{CODE}\n\n{COPIED}")]
    plan = merge_prefill(task)
    assert plan is not None
    whole = plan.request_of(candidates, ("ada", "bob"))
    assert whole is not None
    for early in (candidates[:2], candidates[:1]):
        asked = plan.request_of(early, ("ada", "bob"))
        assert asked is not None
        begun = prefix_of(*asked)
        assert begun.messages[:-1] == whole[0].messages[:-1]
        assert whole[0].messages[-1].text.startswith(begun.messages[-1].text)
