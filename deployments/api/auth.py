"""Checks API keys."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from starlette.types import Scope

from deployments.api.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request must keep to. `key_digests` are the SHA-256 digests of the valid keys, None when no key is
    needed."""

    max_body_bytes: int = 4 * 1024 * 1024
    key_digests: tuple[bytes, ...] | None = None


def key_digest(key: str) -> bytes:
    """Returns the SHA-256 digest of a key. Digests are kept and compared in place of keys."""
    return hashlib.sha256(key.encode()).digest()


def authenticate(scope: Scope, limits: Limits) -> None:
    """Checks the key in a request's `Authorization` header.

    Raises:
        Unauthenticated: a key is needed, and there is no valid one.
    """
    if limits.key_digests is None:
        return
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    given = key_digest(key.strip() if kind.lower() == "bearer" else "")
    # Every key is compared, so that the time taken does not depend on which one matches.
    if not sum(hmac.compare_digest(given, known) for known in limits.key_digests):
        raise Unauthenticated("no valid API key: send one as `Authorization: Bearer KEY`")
