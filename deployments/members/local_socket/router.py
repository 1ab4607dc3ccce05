"""The request router of deployments that are reached over sockets too: Serve's handles use it in every caller."""

# pyright: reportUnknownMemberType=false, reportMissingTypeArgument=false
from __future__ import annotations

import random
from typing import Any

from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica

from deployments.members.local_socket.known_replicas import replicas_of


class SocketAwareRouter(FIFOMixin, RequestRouter):
    """Sends calls to the less busy of two replicas that the caller has no socket to, or of any two while there is none
    such: those with a socket have their share of the calls over it.

    Mitzenmacher 2001, "The Power of Two Choices in Randomized Load Balancing".
    """

    def __init__(self, deployment_id: Any, *args: Any, **options: Any) -> None:
        super().__init__(deployment_id, *args, **options)
        self._known = replicas_of(deployment_id.app_name, deployment_id.name)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        self._known.set_running(frozenset(replica.replica_id.unique_id for replica in replicas))
        super().update_replicas(replicas)

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,  # noqa: ARG002
    ) -> list[list[RunningReplica]]:
        connected = self._known.connected
        elsewhere = [each for each in candidate_replicas if each.replica_id.unique_id not in connected]
        candidates = elsewhere or candidate_replicas
        return [random.sample(candidates, min(2, len(candidates)))] if candidates else []
