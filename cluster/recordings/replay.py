"""A recorded request, run again with its recorded candidates: nobody is asked but the judge model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from cluster.recordings.folder import Row
from deployments.api.chat_request import parse_chat
from deployments.recordings.fused_request import Account, JudgeCall
from fusion.chat import Call, Completion, Message, ToolCall, Usage
from fusion.errors import MemberError, MemberTimeout, MemberUnavailable
from fusion.member import Emit, Member, MemberProfile
from fusion.presets import AgreementPolicy, Policy, Pool, Preset, Task
from fusion.results import Fused, Mode
from fusion.runtime.runner import fuse


@dataclass(frozen=True, slots=True)
class NewJudge:
    """Who judges now, and how. `mode` None keeps each request's own; `guidance` is put before the judge model's own
    instructions."""

    member: Member
    profile: MemberProfile
    mode: Mode | None = None
    guidance: str | None = None
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it, and every call to the judge model."""

    fused: Fused
    judge_calls: tuple[JudgeCall, ...]


def why_not(row: Row) -> str | None:
    """Why a recorded request cannot be judged again, None when it can."""
    if row["request"] is None:
        return "recorded without its content"
    answered = [each for each in row["candidates"] or () if each["status"] == "answered" and each["round"] == 0]
    return "fewer than two candidates" if len(answered) < 2 else None


async def replay(row: Row, judge: NewJudge) -> Replayed:
    """Run the request's mode again, seed and all.

    Raises:
        FusionError: there is no decision.
    """
    request = parse_chat(row["request"].encode()).request
    recorded: dict[str, list[dict[str, Any]]] = {}
    for candidate in row["candidates"]:
        recorded.setdefault(candidate["member"], []).append(candidate)
    opening = [candidates[0] for candidates in recorded.values() if candidates[0]["round"] == 0]
    mode = judge.mode or cast("Mode", row["mode"])
    preset = Preset(
        row["preset"],
        mode,
        tuple(member for member in row["panel"] if member in recorded),
        (judge.profile.name,),
        # All that answered then are waited for, and no one else.
        Policy(sum(each["status"] == "answered" for each in opening), 0.0, judge.timeout_s),
        rounds=max(each["round"] for each in row["candidates"]),
        decision=row["decision"] or "merge",
        # It is the judge that is in question, so it is asked whether the candidates agree or not.
        agreement=AgreementPolicy(short=False, long=None),
        both_orders=False,  # the candidates are shown in the order that they had then
    )
    profiles = {
        member: MemberProfile(member, candidates[0]["backend"] or "", candidates[0]["model"] or member)
        for member, candidates in recorded.items()
    } | {judge.profile.name: judge.profile}
    members: dict[str, Member] = {
        member: _Recorded(candidates, judge) for member, candidates in recorded.items() if member != judge.profile.name
    }
    members[judge.profile.name] = _Recorded(recorded.get(judge.profile.name, []), judge)
    account = Account()
    task = Task(preset, request, profiles, row["seed"])
    fused = await fuse(task, Pool(members, profiles), observers=[account])
    return Replayed(fused, tuple(account.judge_calls))


@dataclass(slots=True)
class _Recorded:
    """A member that answers as it did, round by round; to judge, the new judge model is asked."""

    candidates: list[dict[str, Any]]
    judge: NewJudge
    asked: int = field(default=0)

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        if call.purpose == "judge":
            return await self.judge.member.ask(_guided(call, self.judge.guidance), emit)
        if self.asked >= len(self.candidates):
            raise MemberUnavailable("it has no more recorded candidates")
        candidate = self.candidates[self.asked]
        self.asked += 1
        if candidate["status"] != "answered":
            raise _failure(candidate)
        return Completion(
            candidate["content"] or "",
            tuple(ToolCall(**tool_call) for tool_call in json.loads(candidate["tool_calls"] or "[]")),
            candidate["finish_reason"],
            _usage(candidate),
            candidate["answered_by"],
            candidate["reasoning"] or "",
        )


def _guided(call: Call, guidance: str | None) -> Call:
    if guidance is None:
        return call
    first, *rest = call.request.messages
    if first.role in ("system", "developer"):
        messages = (replace(first, content=f"{guidance}\n\n{first.text}"), *rest)
    else:
        messages = (Message("system", guidance), first, *rest)
    return replace(call, request=replace(call.request, messages=messages))


def _usage(call: Mapping[str, Any]) -> Usage | None:
    if call["input_tokens"] is None:
        return None
    return Usage(call["input_tokens"], call["output_tokens"] or 0, call["cached_tokens"], call["reasoning_tokens"])


def _failure(candidate: Mapping[str, Any]) -> MemberError:
    if candidate["status"] == "cancelled":
        return MemberTimeout("recorded as cancelled")
    return MemberUnavailable(f"recorded as failed: {candidate['error_code']}")
