"""Which candidates may have a part in an answer: those that are what the request asks for."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.chat import Request
from fusion.errors import InvalidRequest
from fusion.results import Candidate, LeftOut
from fusion.structured.json_schema import BadSchema, compile_schema, follows
from fusion.structured.tool_rules import makes_required_call, requires_call
from fusion.text.json_text import NotJson, read_json, without_json_fence


def check_schema(request: Request) -> None:
    """Make sure that answers can be held to the request's schema.

    Raises:
        InvalidRequest: they cannot.
    """
    if request.response_schema is None:
        return
    try:
        compile_schema(request.response_schema.schema)
    except BadSchema as error:
        raise InvalidRequest(
            f"response_format.json_schema.schema: {error}", param="response_format.json_schema.schema"
        ) from None


def admitted(request: Request, candidates: Sequence[Candidate]) -> tuple[list[Candidate], tuple[LeftOut, ...]]:
    """The candidates whose answers follow the request's schema, in the order given, and the others with what is wrong.

    A request without a schema admits all. A candidate that calls tools has no answer yet that a schema is for. Where
    the request demands a call, candidates without it are out as long as another makes it.
    """
    callers = list(candidates)
    if requires_call(request):
        callers = [each for each in candidates if each.completion and makes_required_call(each.completion, request)]
        callers = callers or list(candidates)
    left_out = [LeftOut(each.member, "missing_call") for each in candidates if each not in callers]
    if request.response_schema is None:
        return callers, tuple(left_out)
    validator = compile_schema(request.response_schema.schema)
    valid: list[Candidate] = []
    for candidate in callers:
        try:
            is_valid = follows(validator, read_json(answer_in(candidate)))
            reason = "breaks_schema"
        except NotJson:
            is_valid, reason = False, "invalid_json"
        if is_valid or (candidate.completion and candidate.completion.tool_calls):
            valid.append(candidate)
        else:
            left_out.append(LeftOut(candidate.member, reason))
    return valid, tuple(left_out)


def answer_in(candidate: Candidate) -> str:
    """What a candidate answered, without the code fence that some models put JSON into."""
    assert candidate.completion is not None
    return without_json_fence(candidate.completion.text)
