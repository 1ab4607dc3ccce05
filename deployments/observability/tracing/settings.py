"""The settings of tracing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployments.secrets import Secret


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, and what is in them."""

    endpoint: str
    """A collector's OTLP/HTTP address for traces."""
    headers: Secret | None = None
    """Headers for the collector, as `name=value,name=value`."""
    service_name: str = "fusion-cluster"
    sample: float = 1.0
    """The share of traces that are kept, of clients whose own trace does not decide."""
    content: bool = False
    """Whether spans have prompts and answers."""
    resource: Mapping[str, str] = field(default_factory=dict[str, str])
    """Resource attributes."""
    providers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The name of each backend's provider in the conventions, by backend."""
