"""The part of a configuration that says where Prometheus and Grafana are, and what the alerts hold."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from cluster.config.base import StrictModel


class Objectives(StrictModel):
    """What an operator wants to hold: seconds, a share from 0 to 1, requests under way or waiting a judge replica (the
    judge's own target where None), US dollars."""

    p99_s: Annotated[float, Field(gt=0)] = 60.0
    degraded_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    queue_depth: Annotated[float, Field(gt=0)] | None = None
    budget_usd_per_hour: Annotated[float, Field(gt=0)] = 10.0


class ObservabilityConfig(StrictModel):
    """Where Prometheus and Grafana are. Ray's dashboard asks at `grafana_host` whether Grafana is there; browsers load
    its panels from `grafana_iframe_host`."""

    grafana_host: str | None = None
    grafana_iframe_host: str | None = None
    prometheus_host: str = "http://localhost:9090"
    prometheus_name: Annotated[str, Field(min_length=1)] = "Prometheus"
    alerts: Objectives = Objectives()

    @field_validator("grafana_host", "grafana_iframe_host", "prometheus_host")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an address such as http://grafana:3000, not {url!r}")
        if parts.username or parts.password:
            raise ValueError("the address must not hold credentials: Ray's dashboard shows it")
        return url.rstrip("/")

    def environment(self) -> dict[str, str]:
        """What Ray's dashboard reads when it starts, of what is configured: Ray has defaults for the rest. Where there
        is a Grafana, our dashboards are embedded in the place of Ray's own of Serve."""
        given = self.model_fields_set
        found: dict[str, str] = {}
        if "prometheus_host" in given:
            found["RAY_PROMETHEUS_HOST"] = self.prometheus_host
        if self.grafana_host is not None:
            found |= {
                "RAY_PROMETHEUS_NAME": self.prometheus_name,
                "RAY_GRAFANA_HOST": self.grafana_host,
                "RAY_GRAFANA_IFRAME_HOST": self.grafana_iframe_host or self.grafana_host,
                "RAY_GRAFANA_SERVE_DASHBOARD_UID": "fusion-overview",
                "RAY_GRAFANA_SERVE_DEPLOYMENT_DASHBOARD_UID": "fusion-judge",
            }
        return found
