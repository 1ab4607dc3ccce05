"""Runs a recorded request again with its recorded candidates: only the judge model is called."""

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
    """The judge model of a replay, and how it judges."""

    member: Member
    profile: MemberProfile
    mode: Mode | None = None
    """None keeps each request's own mode."""
    guidance: str | None = None
    """Instructions that precede the judge model's own."""
    timeout_s: float = 120.0
    """The deadline of each replay."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay, and every call to the judge model."""

    fused: Fused
    judge_calls: tuple[JudgeCall, ...]


def ineligible_reason(row: Row) -> str | None:
    """Say why a recording cannot be judged again. None when it can."""
    if row["request"] is None:
        return "recorded without its content"
    answered = [each for each in row["candidates"] or () if each["status"] == "answered" and each["round"] == 0]
    return "fewer than two candidates" if len(answered) < 2 else None


async def replay(row: Row, judge: NewJudge) -> Replayed:
    """Run the request's mode again, with its recorded seed.

    Raises:
        FusionError: the judge model made no decision.
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
        # Every member that answered in the recording is waited for, and no other.
        Policy(sum(each["status"] == "answered" for each in opening), 0.0, judge.timeout_s),
        rounds=max(each["round"] for each in row["candidates"]),
        decision=row["decision"] or "merge",
        # The judge is what is evaluated, so it is called even where the candidates agree.
        agreement=AgreementPolicy(short=False, long=None),
        both_orders=False,  # the candidates are shown in their recorded order
    )
    profiles = {
        member: MemberProfile(member, candidates[0]["backend"] or "", candidates[0]["model"] or member)
        for member, candidates in recorded.items()
    } | {judge.profile.name: judge.profile}
    members: dict[str, Member] = {
        member: _RecordedMember(candidates, judge)
        for member, candidates in recorded.items()
        if member != judge.profile.name
    }
    members[judge.profile.name] = _RecordedMember(recorded.get(judge.profile.name, []), judge)
    account = Account()
    task = Task(preset, request, profiles, row["seed"])
    fused = await fuse(task, Pool(members, profiles), observers=[account])
    return Replayed(fused, tuple(account.judge_calls))


@dataclass(slots=True)
class _RecordedMember:
    """A member that returns its recorded answers, round by round. Calls for judging go to the new judge model."""

    candidates: list[dict[str, Any]]
    judge: NewJudge
    answers_given: int = field(default=0)

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        if call.purpose == "judge":
            return await self.judge.member.ask(_guided(call, self.judge.guidance), emit)
        if self.answers_given >= len(self.candidates):
            raise MemberUnavailable("no more recorded candidates")
        candidate = self.candidates[self.answers_given]
        self.answers_given += 1
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
