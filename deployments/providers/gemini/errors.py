"""Reads error bodies (https://google.aip.dev/193)."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.providers.base import ErrorDetails
from deployments.providers.errors import CONTEXT_LENGTH_EXCEEDED, machine_code, says_too_long
from deployments.providers.lenient_json import as_count, as_dict, as_list, as_str
from fusion.errors import MemberError, MemberUnauthorized

# A wrong key comes with the status 400, and so does an account or a country without access.
_KINDS: Mapping[str, type[MemberError]] = {
    "API_KEY_INVALID": MemberUnauthorized,
    "API_KEY_EXPIRED": MemberUnauthorized,
    "FAILED_PRECONDITION": MemberUnauthorized,
}


def error_details(body: object) -> ErrorDetails:
    """Reads an error body; `streamGenerateContent` may put it into a list."""
    bodies = as_list(body)
    error = as_dict(as_dict(bodies[0] if bodies else body).get("error"))
    details = [as_dict(detail) for detail in as_list(error.get("details"))]
    reason = next((code for detail in details if (code := machine_code(detail.get("reason")))), None)
    status = machine_code(error.get("status"))
    return ErrorDetails(
        code=CONTEXT_LENGTH_EXCEEDED if says_too_long(error.get("message")) else reason or status,
        status=as_count(error.get("code")),
        kind=_KINDS.get(reason or "") or _KINDS.get(status or ""),
        retry_after_s=next((s for detail in details if (s := _duration_s(detail.get("retryDelay"))) is not None), None),
    )


def _duration_s(value: object) -> float | None:
    """Seconds of a duration in protobuf's JSON form, such as `37.5s`."""
    number = as_str(value).removesuffix("s")
    return float(number) if number.replace(".", "", 1).isdecimal() and number.isascii() and len(number) < 20 else None
