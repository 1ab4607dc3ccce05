"""Plans the GPUs, nodes, replicas, memory and money that a configuration needs, or says why it cannot run.

Memory follows vLLM's rules (`cluster.planning.memory`); speed is an estimate (`cluster.planning.throughput`). Neither
has been validated on GPUs. Nothing is started, and neither Ray nor vLLM is imported.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.config.backends import RemoteBackendConfig, RemoteReplicas
from cluster.config.schema import ClusterConfig, JudgeReplicas
from cluster.planning.engine import EnginePlanner, FindConfig, Refused
from cluster.planning.model_shape import find_config
from cluster.planning.results import DeploymentPlan, EnginePlan, Hardware, Plan, Refusal, ReplicaNeeds
from cluster.planning.workload import Load, MemberCall, calls_of

__all__ = ["DeploymentPlan", "EnginePlan", "Hardware", "Load", "Plan", "Refusal", "ReplicaNeeds", "plan"]


def plan(
    config: ClusterConfig,
    load: Load | None = None,
    hardware: Hardware | None = None,
    find: FindConfig = find_config,
) -> Plan:
    """Plans a configuration for a load, or for its minimum of replicas without one.

    Raises:
        ValueError: the configuration does not have the preset of the load.
    """
    assumed = hardware or Hardware()
    calls = calls_of(config, load) if load else ()
    deployments = [_io_bound("judge", config.judge.replicas)]
    engines: list[EnginePlan] = []
    refusals: list[Refusal] = []
    notes: list[str] = []
    for name, backend in config.backends.items():
        members = [member for member, settings in config.members.items() if settings.backend == name]
        if isinstance(backend, RemoteBackendConfig):
            if members:
                deployments.append(_io_bound(f"remote:{name}", backend.replicas))
        elif members:
            ours = [call for call in calls if call.member in members]
            engine = EnginePlanner(name, backend, ours, load, assumed, find)
            try:
                planned = engine.plan()
            except Refused as refused:
                refusals.append(refused.refusal)
                continue
            engines.append(planned)
            deployment = engine.deployment(planned)
            deployments.append(deployment)
            notes += engine.notes(planned)
            refusals += engine.overload(deployment, planned)
    return Plan(
        tuple(deployments), tuple(engines), tuple(refusals), tuple(notes), _charges(config, calls) if load else None
    )


def _io_bound(name: str, replicas: JudgeReplicas | RemoteReplicas) -> DeploymentPlan:
    """Plans a deployment whose replicas only wait for others, with the cores that Ray reserves for them."""
    return DeploymentPlan(name, ReplicaNeeds(cpus=replicas.num_cpus), replicas.min, replicas.max, replicas.min)


def _charges(config: ClusterConfig, calls: Iterable[MemberCall]) -> float | None:
    """Returns what remote members charge for one fused request, in US dollars; None if a price is unknown."""
    total = 0.0
    for call in calls:
        member = config.members[call.member]
        if isinstance(config.backends[member.backend], RemoteBackendConfig):
            if member.price is None:
                return None
            price = member.price
            total += call.input_tokens * call.times * price.input_per_mtok / 1e6
            total += call.output_tokens * call.times * price.output_per_mtok / 1e6
    return total
