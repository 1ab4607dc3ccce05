"""Questions to a running Prometheus."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx

_TLS = ssl.create_default_context()
"""Made anew for each question, it takes longer than the question."""


class NotPromQL(Exception):
    """Prometheus does not take this expression. The message is its own."""


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus by its address."""

    url: str

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now; none where there is no data.

        Raises:
            NotPromQL: it does not parse.
        """
        url, query = f"{self.url}/api/v1/query", {"query": expression}
        reply = httpx.get(url, params=query, trust_env=False, timeout=10, verify=_TLS).json()
        if reply["status"] != "success":
            raise NotPromQL(f"{expression}: {reply['error']}")
        result = reply["data"]["result"]
        return result if reply["data"]["resultType"] == "vector" else [{"metric": {}, "value": result}]

    def ask_until_data(self, expression: str, within_s: float) -> list[dict[str, Any]]:
        """The same, asked again until there is data, after a report of Ray and a scrape, or the time is over."""
        ends_at = time.monotonic() + within_s
        while not (found := self.ask(expression)) and time.monotonic() < ends_at:
            time.sleep(0.5)
        return found
