"""What a replica is told about tracing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployments.secrets import Secret


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, and what is in them.

    `endpoint` is a collector's OTLP/HTTP address for traces, `headers` names what it is sent besides
    (`name=value,name=value`). `sample` is the share of traces that are kept where the client's own trace does not
    decide. `content` puts prompts and answers into the spans. `providers` are the backends' providers, by backend, in
    the conventions' words.
    """

    endpoint: str
    headers: Secret | None = None
    service_name: str = "fusion-cluster"
    sample: float = 1.0
    content: bool = False
    resource: Mapping[str, str] = field(default_factory=dict[str, str])
    providers: Mapping[str, str] = field(default_factory=dict[str, str])
