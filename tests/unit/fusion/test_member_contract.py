"""The scripted member keeps the contract that every member must, given a time limit: it can be told to hang."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from fusion.chat import Call, Completion, ToolCall
from fusion.member import Emit
from fusion.testing import Answer, Hang, ScriptedMember
from tests.support.member_contract import CHECKS, Subject
from tests.support.panels import QUESTION
from tests.support.timed import Timed

SCRIPTS = {
    "short": ScriptedMember(Answer("It is four.", (ToolCall("call_1", "weather", "{}"),)), delay_s=0.1),
    "long": ScriptedMember(Hang()),
}


class Scripted:
    """Both scripts as one member."""

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        return await SCRIPTS[call.member].ask(call, emit)


async def busy() -> bool:
    return any(script.running for script in SCRIPTS.values())


@pytest.mark.parametrize("check", CHECKS)
async def test_a_scripted_member_keeps_the_contract(check: Callable[[Subject], Awaitable[None]]) -> None:
    member = Timed(Scripted())
    await check(Subject(member, Call("short", QUESTION, 10.0), Call("long", QUESTION, 600.0), busy))
