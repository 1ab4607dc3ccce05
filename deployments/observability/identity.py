"""The names of a replica and of a request in spans and recordings."""

from __future__ import annotations

import uuid
from typing import Any, cast

from ray import serve
from ray.serve import context as serve_context


def replica_name() -> str:
    """The replica's unique name within its deployment, or a random one outside of Serve."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except Exception:  # outside of a replica Serve raises an error of its own
        return uuid.uuid4().hex[:8]


def request_id() -> str:
    """The id that Serve gives the request and puts on its response. Serve has no public way to ask for it."""
    return cast("Any", serve_context)._get_serve_request_context().request_id or uuid.uuid4().hex
