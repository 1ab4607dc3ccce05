"""Reads error bodies (https://platform.claude.com/docs/en/api/errors)."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.providers.base import ErrorDetails
from deployments.providers.errors import CONTEXT_LENGTH_EXCEEDED, machine_code, says_too_long
from deployments.providers.lenient_json import as_dict, as_str
from fusion.errors import MemberError, MemberUnauthorized

# For errors in mid-stream, which come with the status 200.
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_details(body: object) -> ErrorDetails:
    """Reads an error body."""
    error = as_dict(as_dict(body).get("error"))
    detail = machine_code(as_dict(error.get("details")).get("error_code"))
    code = detail or machine_code(error.get("type"))
    kind: type[MemberError] | None = None
    message = as_str(error.get("message"))
    if says_too_long(message):
        code = CONTEXT_LENGTH_EXCEEDED
    # An account without credit or over its spend limit: the statuses, 400 and 429, stand for other errors.
    elif "credit balance" in message[:200].lower():
        code, kind = "billing_error", MemberUnauthorized
    elif detail is not None and (detail.endswith("spend_limit_reached") or detail == "organization_on_hold"):
        kind = MemberUnauthorized
    return ErrorDetails(code, _STATUSES.get(as_str(error.get("type"))), kind)
