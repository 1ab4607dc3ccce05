"""What this process knows of a deployment's replicas: which ones run, and which ones it has a socket to.

Serve's router (`router`) tells the one, the sockets' client (`client`) the other. It is a module of its own because
Serve pickles a router's module by value, and a value has state of its own.
"""

from __future__ import annotations


class KnownReplicas:
    """The replicas of one deployment, by the unique ids that Serve gives them."""

    def __init__(self) -> None:
        self._running: frozenset[str] | None = None
        self.connected: frozenset[str] = frozenset()
        """Those that this process has a socket to."""
        self.elsewhere: int | None = None
        """How many run that this process has no socket to; None until Serve has reported which ones run."""

    def set_running(self, replicas: frozenset[str]) -> None:
        self._running = replicas
        self._count()

    def set_connected(self, replicas: frozenset[str]) -> None:
        self.connected = replicas
        self._count()

    def _count(self) -> None:
        if self._running is not None:
            self.elsewhere = len(self._running - self.connected)


def replicas_of(app: str, deployment: str) -> KnownReplicas:
    """What this process knows of a deployment's replicas."""
    return _KNOWN.setdefault((app, deployment), KnownReplicas())


_KNOWN: dict[tuple[str, str], KnownReplicas] = {}
