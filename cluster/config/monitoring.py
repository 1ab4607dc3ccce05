"""Prometheus, Grafana and the thresholds of alerts, as the configuration file has them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from cluster.config.base import StrictModel


class Objectives(StrictModel):
    """Thresholds of alerts."""

    p99_s: Annotated[float, Field(gt=0)] = 60.0
    """99th percentile of the latency of fused requests."""
    degraded_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of a preset's answers that are degraded."""
    queue_depth: Annotated[float, Field(gt=0)] | None = None
    """Requests per judge replica, running or queued; None stands for `judge.target_queue_depth`."""
    budget_usd_per_hour: Annotated[float, Field(gt=0)] = 10.0
    """Cost of calls per hour."""


class ObservabilityConfig(StrictModel):
    """Addresses of Prometheus and Grafana."""

    grafana_host: str | None = None
    """Where Ray's dashboard reaches Grafana; None embeds no dashboards in it."""
    grafana_iframe_host: str | None = None
    """Where browsers reach Grafana; None stands for `grafana_host`."""
    prometheus_host: str = "http://localhost:9090"
    """Where Ray's dashboard and Grafana reach Prometheus."""
    prometheus_name: Annotated[str, Field(min_length=1)] = "Prometheus"
    """Name of the data source in Grafana."""
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
            raise ValueError("the address must not contain credentials: Ray's dashboard shows it")
        return url.rstrip("/")

    def environment(self) -> dict[str, str]:
        """Returns the environment variables that Ray's dashboard reads when it starts.

        Only what is configured is included; Ray has defaults for the rest. With Grafana, this project's dashboards
        replace Ray's own on the Serve pages.
        """
        found: dict[str, str] = {}
        if "prometheus_host" in self.model_fields_set:
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
