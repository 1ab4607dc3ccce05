"""Writes errors as OpenAI's clients expect them: a status, a body and headers."""

from __future__ import annotations

import math
from typing import Any

from deployments.api.chat_response import candidate_body
from fusion.errors import (
    BreakerOpen,
    BudgetTooSmall,
    ContextExceeded,
    FusionError,
    InvalidRequest,
    LimitReached,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    NoQuorum,
    NoValidAnswer,
    TakesNoImages,
    UnknownModel,
)

RETRY_AFTER_S = 1
"""The least that a client is asked to wait before it asks again."""


def error_body(error: FusionError) -> dict[str, Any]:
    """Returns OpenAI's error body. A missing quorum comes with every member's outcome."""
    status = status_of(error)
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    param = error.param if isinstance(error, InvalidRequest) else None
    if isinstance(error, TakesNoImages | ContextExceeded):
        param = "messages"
    body: dict[str, Any] = {"error": {"message": error.message, "type": kind, "param": param, "code": error.code}}
    if isinstance(error, BudgetTooSmall):
        body["fusion"] = {"least_usd": error.least_usd}
    if isinstance(error, NoQuorum):
        body["fusion"] = {"candidates": [candidate_body(candidate, False) for candidate in error.candidates]}
    return body


def status_of(error: FusionError) -> int:
    """Returns the HTTP status of an error."""
    match error:
        case Unauthenticated():
            return 401
        case BodyTooLarge():
            return 413
        case UnknownModel():
            return 404
        case BudgetTooSmall():
            return 402
        case InvalidRequest() | MemberRejected():
            return 400
        case NoQuorum(timed_out=True):
            return 504
        case NoQuorum(candidates=candidates):
            failures = [candidate.failure for candidate in candidates if candidate.failure]
            return 400 if failures and all(failure.rejected for failure in failures) else 502
        case NoValidAnswer():
            return 502
        case LimitReached():
            return 429
        case MemberOverloaded() | BreakerOpen():
            return 503
        case MemberError(code="timeout"):
            return 504
        case MemberError():
            return 502
        case _:
            return 500


class Unauthenticated(FusionError):
    """The request has no valid key."""

    code = "invalid_api_key"


class BodyTooLarge(InvalidRequest):
    """The request's body is over the limit."""

    code = "request_too_large"


def error_headers(error: FusionError) -> dict[str, str]:
    """Returns the headers that an error's status needs."""
    status = status_of(error)
    if status == 401:
        return {"www-authenticate": "Bearer"}
    if status in (429, 503):
        after_s = error.retry_after_s if isinstance(error, MemberOverloaded | BreakerOpen) else None
        return {"retry-after": str(math.ceil(max(after_s or 0, RETRY_AFTER_S)))}
    return {}
