"""Ports for what a test starts."""

from __future__ import annotations

import random
import socket

_CHOICES = range(20_000, 30_000)
"""Below the ports that Linux assigns, so that nothing that starts meanwhile takes one of them, and below 30,000, from
where on Serve's replicas have theirs."""
_random = random.SystemRandom()


def free_port() -> int:
    """Return a port on the loopback address that nothing listens on."""
    while True:
        port = _random.choice(_CHOICES)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
