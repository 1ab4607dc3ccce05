"""A deployment of scripted members, and what each of them does."""

from __future__ import annotations

import json
import re
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from deployments.members.local_socket.router import SocketAwareRouter
from deployments.members.replica import MemberReplica
from fusion.chat import Call, Completion, ToolCall, Usage
from fusion.errors import MalformedReply, MemberOverloaded, MemberUnavailable
from fusion.testing import Answer, CutOff, Fail, Hang, IgnoreCancellation, Reply, Rubbish, ScriptedMember


def _favours_four(call: Call) -> str:
    """A verdict that gives 9 to the answer that says "four" and 2 to every other."""
    shown = call.request.messages[-1].text
    answers = re.findall(r"<answer ([A-Z]) \w+>\n(.*?)\n</answer", shown, re.DOTALL)
    scores = ", ".join(f'"{label}": {9 if "four" in text else 2}' for label, text in answers)
    return f'{{"reason": "four is right", "scores": {{{scores}}}}}'


def _analyses(call: Call) -> str:
    """An analysis in which all that say "four" agree, and a merge when nothing else is asked for."""
    if call.request.response_schema is None:
        return "Four it is."
    labels = re.findall(r"<answer ([A-Z]) \w+>\n[^<]*four", call.request.messages[-1].text)
    return json.dumps({"consensus": [{"text": "It is four.", "answers": labels}], "blind_spots": ["Why."]})


def _scripts() -> dict[str, ScriptedMember]:
    weather = ToolCall("call_1", "weather", '{"city": "Oslo"}')
    return {
        "four": ScriptedMember(Answer("It is four.", usage=Usage(10, 4))),
        "five": ScriptedMember(Answer("It is five.", usage=Usage(10, 4))),
        "six": ScriptedMember(Answer("Perhaps six.", usage=Usage(10, 3))),
        "tools": ScriptedMember(Answer("", (weather,), finish_reason="tool_calls")),
        "slow": ScriptedMember(Answer("It is four, slowly."), delay_s=1.0),
        "hangs": ScriptedMember(Hang()),
        "fails": ScriptedMember(Fail(MemberUnavailable("refused"))),
        "busy": ScriptedMember(Fail(MemberOverloaded("HTTP 429", retry_after_s=7))),
        "raises": ScriptedMember(Fail(RuntimeError("a secret prompt"))),
        "rubbish": ScriptedMember(Rubbish("not a completion")),
        "cut-off": ScriptedMember(CutOff(["It ", "is "])),
        "stubborn": ScriptedMember(IgnoreCancellation(3.0)),
        "empty": ScriptedMember(Answer("  ")),
        "picks": ScriptedMember(Reply(_favours_four)),
        "analyses": ScriptedMember(Reply(_analyses)),
        "unseeing": ScriptedMember(Answer("I see four.")),
        "forgetful": ScriptedMember(Answer("What was it?")),
        "mumbles": ScriptedMember(Answer("I could not say.")),
        "writes": ScriptedMember(
            Answer(
                "All things considered: four ✓",
                pieces=["All ", "things ", "considered: ", "four ✓"],
                piece_delay_s=0.1,
                usage=Usage(40, 6),
            )
        ),
        "dawdles": ScriptedMember(Answer("All things", pieces=["All ", "things"], piece_delay_s=60.0)),
        "breaks": ScriptedMember(CutOff(["All "], MalformedReply("cut off"))),
    }


class ScriptedMembers:
    """Every scripted member as one: a call goes to the one it names."""

    def __init__(self) -> None:
        self.scripts = _scripts()

    async def ask(self, call: Call, emit: Any = None) -> Completion:
        return await self.scripts[call.member].ask(call, emit)


class ScriptedReplica(MemberReplica):
    """A member's replica that can also be asked what happened to it."""

    def __init__(self) -> None:
        self.scripted = ScriptedMembers()
        super().__init__(self.scripted)
        self.listen(max_ongoing=1000)

    async def story(self, member: str) -> dict[str, int]:
        script = self.scripted.scripts[member]
        return {"asked": len(script.calls), "running": script.running, "cancelled": script.cancelled}


SCRIPTED = tuple(_scripts())


def scripted_deployment() -> Application:
    """All scripted members behind one deployment."""
    options = {
        "name": "scripted",
        "max_ongoing_requests": 1000,
        "ray_actor_options": {"num_cpus": 0},
        "request_router_config": RequestRouterConfig(request_router_class=SocketAwareRouter),
    }
    return serve.deployment(ScriptedReplica, **options).bind()
