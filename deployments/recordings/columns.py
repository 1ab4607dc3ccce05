"""The columns of a recording. docs/recordings.md lists them, and a test compares both.

A new column is one more `Column` here and one more row there. Readers fill in null where an older file lacks it, so it
needs no new `SCHEMA_VERSION`, which changes only when a column is removed or gets another meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from pydantic_core import to_json

from deployments.providers.openai.dialects import Dialect
from deployments.providers.openai.requests import chat_body
from deployments.recordings.arrow import pa
from deployments.recordings.fused_request import FusedRequest, JudgeCall
from fusion.chat import Call, Completion, Request, Usage
from fusion.member import MemberProfile
from fusion.results import Candidate, Failure, Verdict

SCHEMA_VERSION = 1


_REQUEST_DIALECT = Dialect(developer_role=True, reasoning_object=True)


_TEXT = pa.string()


_NUMBER = pa.float64()


_COUNT = pa.int64()


_NAMES = pa.list_(pa.string())


_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column, or one field of a column of structures."""

    name: str
    type: Any
    """Its type in Arrow."""
    description: str
    extract: Callable[[Any], Any]
    """Takes its value from what the row, or the structure, is made of. With `fields`, returns what each structure is
    made of."""
    content_policy: Literal["always", "text", "digest"] = "always"
    """When it is written: `always`; as a `text`, null unless content is `full`; or as a text's `digest`, null unless
    content is `hash`."""
    fields: tuple[Column, ...] = ()
    """The fields of a column that is a list of structures."""

    @property
    def arrow_field(self) -> Any:
        return pa.field(self.name, self.type)


@dataclass(frozen=True, slots=True)
class _CandidateOf:
    """A candidate, and the profile of its member."""

    candidate: Candidate
    member: MemberProfile | None

    @property
    def completion(self) -> Completion | None:
        return self.candidate.completion


def _list_of(name: str, description: str, extract: Callable[[Any], Any], fields: tuple[Column, ...]) -> Column:
    type_ = pa.list_(pa.struct([column.arrow_field for column in fields]))
    return Column(name, type_, description, extract, fields=fields)


def _tokens(usage_of: Callable[[Any], Usage | None]) -> tuple[Column, ...]:
    def count(name: str) -> Callable[[Any], int | None]:
        return lambda source: getattr(usage_of(source), name, None)

    return (
        Column("input_tokens", _COUNT, "input tokens; null if the backend reports no usage", count("input_tokens")),
        Column("output_tokens", _COUNT, "output tokens", count("output_tokens")),
        Column("cached_tokens", _COUNT, "input tokens that came from a cache", count("cached_tokens")),
        Column("reasoning_tokens", _COUNT, "output tokens of reasoning", count("reasoning_tokens")),
    )


def _failure(description: str, failure_of: Callable[[Any], Failure | None]) -> tuple[Column, ...]:
    return (
        Column("error_code", _TEXT, description, lambda source: getattr(failure_of(source), "code", None)),
        Column(
            "error_message", _TEXT, "the error in words", lambda source: getattr(failure_of(source), "message", None)
        ),
    )


def _completion(of: Callable[[Any], Completion | None], whose: str) -> tuple[Column, ...]:
    return (
        Column("content", _TEXT, f"{whose} text", lambda source: getattr(of(source), "text", None), "text"),
        Column("reasoning", _TEXT, f"{whose} reasoning", lambda source: _reasoning(of(source)), "text"),
        Column("tool_calls", _TEXT, f"{whose} tool calls, as JSON", lambda source: _tool_calls(of(source)), "text"),
        Column("content_hash", _TEXT, "hash of text and tool calls", lambda source: _hashed_text(of(source)), "digest"),
    )


_CANDIDATE: tuple[Column, ...] = (
    Column("member", _TEXT, "the member that was called", lambda source: source.candidate.member),
    Column(
        "answered_by",
        _TEXT,
        "the fallback member that answered instead",
        lambda source: getattr(source.completion, "answered_by", None),
    ),
    Column("backend", _TEXT, "the member's backend", lambda source: source.member and source.member.backend),
    Column("model", _TEXT, "the member's model", lambda source: source.member and source.member.model),
    Column("round", pa.int32(), "0; a debate's rebuttals count from 1", lambda source: source.candidate.round),
    Column("status", _TEXT, "`answered`, `failed` or `cancelled`", lambda source: source.candidate.status),
    Column("latency_ms", _NUMBER, "time from the round's start to its end", lambda source: source.candidate.latency_ms),
    *_tokens(lambda source: source.candidate.usage),
    Column("cost_usd", _NUMBER, "US dollars; null when unknown", lambda source: source.candidate.cost_usd),
    Column(
        "finish_reason", _TEXT, "the finish reason", lambda source: getattr(source.completion, "finish_reason", None)
    ),
    *_failure("why it failed", lambda source: source.candidate.failure),
    *_completion(lambda source: source.completion, "the candidate's"),
)


_JUDGE_CALL: tuple[Column, ...] = (
    Column("judge", _TEXT, "the judge model's member", lambda call: call.judge),
    Column("stage", _TEXT, "what the call was for: `judge`, or another stage of the mode", lambda call: call.stage),
    Column(
        "answered_by",
        _TEXT,
        "the fallback member that answered instead",
        lambda call: getattr(call.outcome, "answered_by", None),
    ),
    Column("status", _TEXT, "`answered` or `failed`", lambda call: "answered" if _answered(call) else "failed"),
    Column("latency_ms", _NUMBER, "duration of the call", lambda call: call.latency_ms),
    *_tokens(lambda call: call.outcome.usage),
    Column("cost_usd", _NUMBER, "US dollars; null when unknown", lambda call: call.cost_usd),
    Column("finish_reason", _TEXT, "the finish reason", lambda call: getattr(_answered(call), "finish_reason", None)),
    *_failure("why it failed", lambda call: call.outcome if isinstance(call.outcome, Failure) else None),
    *_completion(lambda call: _answered(call), "the judge model's"),
)


_STAGE: tuple[Column, ...] = (
    Column("stage", _TEXT, "`panel`, `rebuttal`, `judge`, or another stage of the mode", lambda spent: spent.stage),
    Column("calls", _COUNT, "number of calls", lambda spent: spent.calls),
    *_tokens(lambda spent: spent.usage),
    Column("cost_usd", _NUMBER, "US dollars; null when one call's is unknown", lambda spent: spent.cost_usd),
)


_SCORE: tuple[Column, ...] = (
    Column("member", _TEXT, "the member", lambda pair: pair[0]),
    Column("score", _NUMBER, "0 to 10; null without a score", lambda pair: pair[1]),
)


_VERDICT: tuple[Column, ...] = (
    Column("judge", _TEXT, "the judge model", lambda verdict: verdict.judge),
    Column("winner", _TEXT, "the member with the best candidate", lambda verdict: verdict.winner),
    _list_of("scores", "each candidate's score", lambda verdict: verdict.scores.items(), _SCORE),
    Column("order", _NAMES, "the members, in the order the judge model saw them", lambda verdict: verdict.order),
    Column("seed", _COUNT, "the seed of that order", lambda verdict: verdict.seed),
    Column("agreed", pa.bool_(), "whether two opposite orders had the same winner", lambda verdict: verdict.agreed),
    Column("tie_broken_by", _TEXT, "`scores` or `trust`, if they had not", lambda verdict: verdict.tie_broken_by),
    Column("reason", _TEXT, "the judge model's reason", lambda verdict: verdict.reason, "text"),
)


COLUMNS: tuple[Column, ...] = (
    Column("request_id", _TEXT, "the response's `x-request-id`", lambda request: request.id),
    Column("trace_id", _TEXT, "the trace id of its spans ([tracing.md](tracing.md))", lambda request: request.trace_id),
    Column("arrived_at", _TIME, "time of arrival", lambda request: datetime.fromtimestamp(request.arrived_at, UTC)),
    Column("replica", _TEXT, "the judge replica that ran it", lambda _: None),
    Column("config_hash", _TEXT, "hash of the configuration's values", lambda _: None),
    Column("model", _TEXT, "the model id that the client named", lambda request: request.model),
    Column("streamed", pa.bool_(), "whether it asked for a stream", lambda request: request.streamed),
    Column("preset", _TEXT, "the preset", lambda request: request.task.preset.name),
    Column("mode", _TEXT, "`best-of`, `merge`, `debate` or `auto`", lambda request: request.task.preset.mode),
    Column("panel", _NAMES, "the members, in order of trust", lambda request: request.task.preset.panel),
    Column(
        "judges", _NAMES, "the judge models, in the order they are tried", lambda request: request.task.preset.judges
    ),
    Column("quorum", pa.int32(), "how many candidates were enough", lambda request: _quorum(request)),
    Column(
        "straggler_grace", _NUMBER, "the preset's setting", lambda request: request.task.preset.policy.straggler_grace
    ),
    Column("deadline_s", _NUMBER, "the preset's setting", lambda request: request.task.preset.policy.deadline_s),
    Column("rounds", pa.int32(), "a debate's maximum number of rebuttals", lambda request: request.task.preset.rounds),
    Column("decision", _TEXT, "how a debate ends", lambda request: request.task.preset.decision),
    Column("seed", _COUNT, "the seed of everything random", lambda request: request.task.seed),
    Column("outcome", _TEXT, "`answered`, `failed`, or `cancelled` by its client", lambda request: request.outcome),
    Column("degraded", _TEXT, "why the answer is degraded", lambda request: _fused(request, "degraded")),
    Column("dropped", _NAMES, "parts of the plan skipped for lack of time", lambda request: _fused(request, "dropped")),
    Column(
        "agreed",
        _NAMES,
        "the members whose agreement answered the request without a judge",
        lambda request: _agreed(request),
    ),
    *_failure("why there is no answer", lambda request: request.failure),
    Column("judge", _TEXT, "the judge model that decided", lambda request: _fused(request, "judge")),
    Column(
        "winner", _TEXT, "the verdict's winner", lambda request: getattr(_fused(request, "verdict"), "winner", None)
    ),
    Column(
        "queued_ms",
        _NUMBER,
        "time before its panel was called: parsing, and waiting for a slot",
        lambda request: request.queued_ms,
    ),
    Column("total_ms", _NUMBER, "time from its arrival to its end", lambda request: request.took_ms),
    Column("panel_ms", _NUMBER, "time of its rounds", lambda request: _timing(request, "panel_ms")),
    Column("judge_ms", _NUMBER, "time of its judge models", lambda request: _timing(request, "judge_ms")),
    Column(
        "overhead_vs_slowest_member",
        _NUMBER,
        "time beyond the slowest candidate's, as a fraction of it",
        lambda request: _fused(request, "overhead_vs_slowest_member"),
    ),
    *_tokens(lambda request: _fused(request, "usage")),
    Column(
        "cost_usd",
        _NUMBER,
        "US dollars, all calls; null when one call's is unknown",
        lambda request: _fused(request, "cost_usd"),
    ),
    Column(
        "finish_reason",
        _TEXT,
        "the answer's finish reason",
        lambda request: getattr(_fused(request, "completion"), "finish_reason", None),
    ),
    _list_of(
        "candidates",
        "every member's outcome in every round",
        lambda request: [
            _CandidateOf(candidate, request.task.profiles.get(candidate.member)) for candidate in request.candidates
        ],
        _CANDIDATE,
    ),
    _list_of("judge_calls", "every call to a judge model", lambda request: request.account.judge_calls, _JUDGE_CALL),
    _list_of("verdicts", "the decisions about the candidates", lambda request: _verdicts(request), _VERDICT),
    Column(
        "analysis", _TEXT, "where the candidates agree and differ, as JSON", lambda request: _analysis(request), "text"
    ),
    _list_of("stages", "usage and cost by stage", lambda request: _fused(request, "stages") or (), _STAGE),
    Column("request", _TEXT, "the request, as OpenAI's JSON", lambda request: request_json(request), "text"),
    *_completion(lambda request: _fused(request, "completion"), "the answer's"),
    Column("request_hash", _TEXT, "hash of the request's messages", lambda request: _messages_json(request), "digest"),
)


SCHEMA = pa.schema([column.arrow_field for column in COLUMNS]).with_metadata(
    {"schema_version": str(SCHEMA_VERSION), "written_by": f"fusion-cluster {version('fusion-cluster')}"}
)


_NAMED_TYPES = tuple((column.name, column.type) for column in COLUMNS)


def batch_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Make a record batch in the current schema; what a row lacks is null. Building column by column takes a hundredth
    of the time of `RecordBatch.from_pylist`."""
    columns = [pa.array([row.get(name) for row in rows], type=type_) for name, type_ in _NAMED_TYPES]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def request_json(request: FusedRequest) -> str:
    """The request as a body of OpenAI's chat completions."""
    return to_json(_body(request.task.request, request.model)).decode()


def _body(request: Request, model: str) -> dict[str, Any]:
    return chat_body(Call("", request, 0.0), model, stream=False, dialect=_REQUEST_DIALECT)


def _messages_json(request: FusedRequest) -> str:
    return to_json(_body(request.task.request, "")["messages"]).decode()


def _fused(request: FusedRequest, name: str) -> Any:
    return getattr(request.fused, name, None)


def _agreed(request: FusedRequest) -> tuple[str, ...] | None:
    agreement = _fused(request, "agreement")
    return agreement.members if agreement and agreement.agreed else None


def _timing(request: FusedRequest, name: str) -> float | None:
    return getattr(_fused(request, "timings"), name, None)


def _quorum(request: FusedRequest) -> int:
    preset = request.task.preset
    return preset.quorum


def _verdicts(request: FusedRequest) -> list[Verdict]:
    verdict = _fused(request, "verdict")
    return [] if verdict is None else [verdict]


def _analysis(request: FusedRequest) -> str | None:
    analysis = _fused(request, "analysis")
    return None if analysis is None else to_json(analysis).decode()


def _answered(call: JudgeCall) -> Completion | None:
    return call.outcome if isinstance(call.outcome, Completion) else None


def _reasoning(completion: Completion | None) -> str | None:
    return (completion.reasoning or None) if completion else None


def _tool_calls(completion: Completion | None) -> str | None:
    if completion is None or not completion.tool_calls:
        return None
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in completion.tool_calls]
    return to_json(calls).decode()


def _hashed_text(completion: Completion | None) -> str | None:
    return completion.text + (_tool_calls(completion) or "") if completion else None
