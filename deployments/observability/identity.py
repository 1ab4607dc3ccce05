"""The name that a replica goes by in spans and recordings."""

from __future__ import annotations

import uuid

from ray import serve


def replica_name() -> str:
    """The replica's name within its deployment, which no other one has."""
    try:
        return serve.get_replica_context().replica_id.unique_id
    except Exception:  # outside of a replica Serve raises an error of its own
        return uuid.uuid4().hex[:8]
