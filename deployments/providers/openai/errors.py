"""Reads the error bodies of OpenAI and of the servers that copy its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.providers.base import ErrorDetails
from deployments.providers.errors import CONTEXT_LENGTH_EXCEEDED, error_from_details, machine_code, says_too_long
from deployments.providers.lenient_json import as_count, as_dict, as_str
from fusion.errors import MemberError, MemberRejected, MemberUnauthorized

# Where the code says more than the status that it comes with.
_KINDS: Mapping[str, type[MemberError]] = {
    "insufficient_quota": MemberUnauthorized,
    "billing_hard_limit_reached": MemberUnauthorized,
    "account_deactivated": MemberUnauthorized,
    "invalid_api_key": MemberUnauthorized,
    CONTEXT_LENGTH_EXCEEDED: MemberRejected,
    "content_filter": MemberRejected,
    "content_policy_violation": MemberRejected,
}

# For errors that come with the status 200.
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "authentication_error": 401,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
}

# OpenRouter's 404 for parameters that no provider of a model supports.
_UNSUPPORTED = ("No endpoints found that can handle the requested parameters", "No endpoints found that support")


def error_details(body: object) -> ErrorDetails:
    """Reads an error body, in OpenAI's shape or in those of its copies: the error's fields at the top (Mistral, older
    vLLM), the status as the code (vLLM, OpenRouter), the error as bare text (Ollama)."""
    error = as_dict(as_dict(body).get("error")) or as_dict(body)
    number = error.get("code") if isinstance(error.get("code"), int) else None
    code = machine_code(error.get("code"), error.get("type"))
    if says_too_long(error.get("message")):
        code = CONTEXT_LENGTH_EXCEEDED
    elif as_str(error.get("message")).startswith(_UNSUPPORTED):
        code = "unsupported_parameters"
    elif "flagged_input" in as_dict(error.get("metadata")):  # OpenRouter's moderation, a 403
        code = "content_policy_violation"
    elif code is not None and code.startswith("unsupported_") and (parameter := machine_code(error.get("param"))):
        return ErrorDetails(f"{code}: {parameter}", 400)
    status = as_count(number) or _STATUSES.get(code or "") or _STATUSES.get(as_str(error.get("type")))
    return ErrorDetails(code, status, _KINDS.get(code or ""))


def raise_error_in(response: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
    """Raises the error that stands in a response, a chunk, or its first choice, in place of an answer.

    Raises:
        MemberError: there is one.
    """
    if response.get("error"):
        raise error_from_details(error_details(response))
    if choice.get("error") or choice.get("finish_reason") == "error":
        raise error_from_details(error_details(choice))
