"""What the parts of a configuration share: strictness, types and network addresses."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deployments.api.chat_schema import MAX_DEADLINE_S

Seconds = Annotated[float, Field(gt=0, le=MAX_DEADLINE_S)]


Location = tuple[str | int, ...]
"""Path of a key in the configuration: names, and indexes of lists."""


class StrictModel(BaseModel):
    """A part of a configuration: frozen, unknown keys are refused, and no value is converted to another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def is_loopback(host: str) -> bool:
    """Returns whether a host name or an address is a loopback one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
