# pyright: reportUnknownMemberType=false
"""A Grafana that can be used: there, new enough, and willing."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException
from niquests.exceptions import RequestException

LEAST_VERSION = (10, 0)
TIMEOUT_S = 15.0


class GrafanaUnusable(Exception):
    """Grafana cannot be used. The message says why, and what would help."""


def connect(url: str, token: str) -> GrafanaApi:
    """A client of the Grafana at a URL.

    Raises:
        GrafanaUnusable: it is not there, too old, or does not take the token.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise GrafanaUnusable(f"{url!r} is not Grafana's address: give it as http://host:3000")
    if parts.username or parts.password:
        raise GrafanaUnusable("the address holds credentials: put a service account's token into a variable instead")
    api = GrafanaApi.from_url(url.rstrip("/") + ("/" if parts.path.strip("/") else ""), token, timeout=TIMEOUT_S)
    client: Any = api.client
    with translated(url):
        health: Any = client.GET("/health")
    if not isinstance(health, dict) or "database" not in health:
        raise GrafanaUnusable(f"what answers at {url} is not Grafana")
    _check_version(url, str(cast("dict[str, Any]", health).get("version") or ""))
    with translated(url):
        client.GET("/folders", params={"limit": 1})
    return api


def _check_version(url: str, version: str) -> None:
    found = re.match(r"(\d+)\.(\d+)", version)
    # Grafana can be configured to hide its version; then it cannot be checked.
    if found and (int(found[1]), int(found[2])) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise GrafanaUnusable(f"the Grafana at {url} is {version}; {least} is the least that has what is needed")


@contextmanager
def translated(url: str) -> Generator[None]:
    """Errors of the client as ours.

    Raises:
        GrafanaUnusable: for each of them.
    """
    try:
        yield
    except GrafanaException as error:
        raise GrafanaUnusable(_reason(url, error)) from error
    except RequestException as error:
        raise GrafanaUnusable(f"there is no Grafana at {url}: {type(error).__name__}") from error
    except ValueError as error:
        raise GrafanaUnusable(f"what answers at {url} is not Grafana: its reply is not JSON") from error


def _reason(url: str, error: GrafanaException) -> str:
    if error.status_code == 401:
        return f"the Grafana at {url} does not take the token: is it that of a service account, and not expired?"
    if error.status_code == 403:
        return (
            f"the Grafana at {url} forbids it: its service account needs the role Editor, and Admin for the data "
            "source (or name one that is there with --datasource)"
        )
    if error.status_code == 412:
        return "it was changed in Grafana in the meantime: compare again with fusion grafana diff"
    if error.status_code == 0:
        return f"the Grafana at {url} does not answer within {TIMEOUT_S:g} s"
    return f"the Grafana at {url} refuses: {error.message}"
