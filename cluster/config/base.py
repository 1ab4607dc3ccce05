"""What the parts of a configuration have in common."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deployments.api.chat_schema import MAX_DEADLINE_S

Seconds = Annotated[float, Field(gt=0, le=MAX_DEADLINE_S)]


class StrictModel(BaseModel):
    """A part of a configuration: frozen, without unknown keys, and nothing is made into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
