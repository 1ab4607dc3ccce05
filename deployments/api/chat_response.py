"""Writes answers and streams in OpenAI's shapes, with the `fusion` extension."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import to_json

from fusion.chat import Completion, Delta, ToolCallDelta, Usage
from fusion.progress import CandidateEnded, CandidateGrew, JudgeAsked, PanelConvened, Progress
from fusion.results import Agreement, Assembly, Budgeted, Candidate, Fused, NoHarm, Saved, Verdict
from fusion.text.provenance import provenance

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the parts of one response have in common. `created` is in seconds since the epoch; `reasoning_field` is the
    field that shows reasoning, None when it is not shown."""

    id: str
    model: str
    created: int
    reasoning_field: str | None = "reasoning_content"

    def completion(
        self, completion: Completion, usage: Usage | None, fusion: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns the body of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": completion.text or None, "refusal": None}
        if completion.reasoning and self.reasoning_field:
            message[self.reasoning_field] = completion.reasoning
        if completion.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in completion.tool_calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish_reason}
        body = self._body("chat.completion", [choice])
        body["usage"] = usage_body(usage)
        fusion = fusion or _answered_by(completion)
        return body if fusion is None else {**body, "fusion": fusion}

    def opening(self) -> bytes:
        """Returns the stream's first chunk."""
        return self._chunk([_choice({"role": "assistant", "content": ""})])

    def delta(self, delta: Delta) -> bytes:
        """Returns a chunk with a piece of the answer."""
        fields: dict[str, Any] = {}
        if delta.reasoning and self.reasoning_field:
            fields[self.reasoning_field] = delta.reasoning
        if delta.text:
            fields["content"] = delta.text
        if delta.tool_calls:
            fields["tool_calls"] = [_tool_call_delta(call) for call in delta.tool_calls]
        return self._chunk([_choice(fields)])

    def event(self, event: Mapping[str, Any]) -> bytes:
        """Returns a chunk that reports progress. OpenAI's clients skip it: it has no choices."""
        return self._chunk([], fusion={"event": event})

    def closing(
        self, completion: Completion, usage: Usage | None, fusion: Mapping[str, Any] | None, *, include_usage: bool
    ) -> bytes:
        """Returns the last chunks: the finish reason, then what is known only at the end, then `[DONE]`."""
        fusion = fusion or _answered_by(completion)
        last: dict[str, Any] = {} if fusion is None else {"fusion": fusion}
        if include_usage:
            last["usage"] = usage_body(usage)
        finish = self._chunk([_choice({}, completion.finish_reason)])
        return finish + (self._chunk([], **last) if last else b"") + DONE

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return sse(self._body("chat.completion.chunk", choices) | more)

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def sse(body: Mapping[str, Any]) -> bytes:
    """Writes one server-sent event."""
    return b"data: " + to_json(body) + b"\n\n"


def usage_body(usage: Usage | None) -> dict[str, Any] | None:
    """Returns OpenAI's `usage`, None when no backend reported any; details that none reported are left out."""
    if usage is None:
        return None
    body: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return body


def fusion_body(fused: Fused, preset: str, include: Collection[str]) -> dict[str, Any]:
    """Returns the response's `fusion` object. `include` adds the candidates' content (`candidates`) and which members
    support which part of the answer (`provenance`)."""
    timings = fused.timings
    body: dict[str, Any] = {
        "mode": fused.mode,
        "preset": preset,
        "judge": fused.judge,
        "candidates": [candidate_body(candidate, "candidates" in include) for candidate in fused.candidates],
        "verdict": None if fused.verdict is None else _verdict_body(fused.verdict),
        "agreement": None if fused.agreement is None else _agreement_body(fused.agreement),
        "assembly": None if fused.assembly is None else _assembly_body(fused.assembly),
        "analysis": None if fused.analysis is None else asdict(fused.analysis),
        "no_harm": None if fused.no_harm is None else _no_harm_body(fused.no_harm),
        "suspicious": fused.suspicious,
        "fit": None if fused.fit is None else asdict(fused.fit),
        "timings_ms": {
            "total": _ms(timings.total_ms),
            "panel": _ms(timings.panel_ms),
            "judge": None if timings.judge_ms is None else _ms(timings.judge_ms),
        },
        "overhead_vs_slowest_member": None
        if fused.overhead_vs_slowest_member is None
        else round(fused.overhead_vs_slowest_member, 4),
        "cost_usd": fused.cost_usd,
        "stages": [
            {"stage": spent.stage, "calls": spent.calls, "usage": usage_body(spent.usage), "cost_usd": spent.cost_usd}
            for spent in fused.stages
        ],
        "dropped": fused.dropped,
        "budget": None if fused.budget is None else _budget_body(fused.budget),
        "saved": None if fused.saved is None else _saved_body(fused.saved),
        "degraded": fused.degraded,
    }
    if "provenance" in include:
        body["provenance"] = [asdict(part) for part in provenance(fused)]
    return body


def candidate_body(candidate: Candidate, with_content: bool) -> dict[str, Any]:
    """Returns one member's outcome."""
    completion, failure = candidate.completion, candidate.failure
    body: dict[str, Any] = {
        "member": candidate.member,
        "answered_by": completion.answered_by if completion else None,
        "status": candidate.status,
        "round": candidate.round,
        "latency_ms": _ms(candidate.latency_ms),
        "usage": usage_body(candidate.usage),
        "cost_usd": candidate.cost_usd,
        "finish_reason": completion.finish_reason if completion else None,
        "error": None if failure is None else {"code": failure.code, "message": failure.message},
    }
    if with_content:
        body["content"] = completion.text if completion else None
        body["tool_calls"] = (
            [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in completion.tool_calls]
            if completion
            else []
        )
    return body


def event_body(event: Progress, include: Collection[str]) -> dict[str, Any]:
    """Returns a progress event, for the `fusion` object of a chunk."""
    match event:
        case PanelConvened(members, number):
            return {"type": "panel_convened", "round": number, "members": members}
        case CandidateGrew(member, number, delta):
            return {"type": "candidate_delta", "round": number, "member": member, "delta": {"content": delta.text}}
        case CandidateEnded(candidate):
            return {"type": "candidate_ended", "candidate": candidate_body(candidate, "candidates" in include)}
        case JudgeAsked(judge):
            return {"type": "judge_asked", "judge": judge}


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _answered_by(completion: Completion) -> dict[str, Any] | None:
    """The `fusion` object of a plain call that a fallback answered, None when the member itself did."""
    return None if completion.answered_by is None else {"answered_by": completion.answered_by}


def _tool_call_delta(call: ToolCallDelta) -> dict[str, Any]:
    body: dict[str, Any] = {"index": call.index, "function": {"arguments": call.arguments}}
    if call.id is not None:
        body |= {"id": call.id, "type": "function"}
    if call.name is not None:
        body["function"]["name"] = call.name
    return body


def _budget_body(budget: Budgeted) -> dict[str, Any]:
    return {
        "max_cost_usd": budget.max_cost_usd,
        "planned_cost_usd": budget.planned_cost_usd,
        "pruned": budget.pruned,
    }


def _saved_body(saved: Saved) -> dict[str, Any]:
    return {
        "judge_calls": saved.judge_calls,
        "unasked": saved.unasked,
        "cut_short": saved.cut_short,
        "time_ms": None if saved.time_ms is None else _ms(saved.time_ms),
        "cost_usd": saved.cost_usd,
    }


def _agreement_body(found: Agreement) -> dict[str, Any]:
    return {
        "agreed": found.agreed,
        "kind": found.kind,
        "score": round(found.score, 4),
        "members": found.members,
    }


def _verdict_body(verdict: Verdict) -> dict[str, Any]:
    return {
        "judge": verdict.judge,
        "winner": verdict.winner,
        "scores": dict(verdict.scores),
        "reason": verdict.reason,
        "order": verdict.order,
        "seed": verdict.seed,
        "agreed": verdict.agreed,
        "tie_broken_by": verdict.tie_broken_by,
        "criteria": verdict.criteria or None,
        "kin": [asdict(kin) for kin in verdict.kin],
        "jury": None
        if verdict.jury is None
        else {
            "verdicts": [_verdict_body(each) for each in verdict.jury.verdicts],
            "points": verdict.jury.points,
            "abstained": verdict.jury.abstained,
        },
    }


def _no_harm_body(check: NoHarm) -> dict[str, Any]:
    return {
        "best": check.best,
        "returned": check.returned,
        "verdict": None if check.verdict is None else _verdict_body(check.verdict),
        "failures": dict(check.failures),
    }


def _assembly_body(assembly: Assembly) -> dict[str, Any]:
    return {
        "left_out": [asdict(left) for left in assembly.left_out],
        "tool_vote": None if assembly.tool_vote is None else asdict(assembly.tool_vote),
        "fields": [asdict(field) for field in assembly.fields],
        "fell_back_to": assembly.fell_back_to,
        "blocks": [asdict(block) for block in assembly.blocks],
    }


def _ms(value: float) -> float:
    return round(value, 1)
