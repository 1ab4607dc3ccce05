"""What a configuration needs before anyone buys it: GPUs, nodes, replicas, memory, money; or why it cannot be.

Memory is counted as vLLM counts it (`cluster.planning.memory`); speed is an estimate (`cluster.planning.throughput`).
Nothing is started, and neither Ray nor vLLM is imported.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.config.backends import RemoteBackendConfig, RemoteReplicas
from cluster.config.schema import ClusterConfig, JudgeReplicas
from cluster.planning.engine import EngineToPlan, FindConfig, Refused
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
    """What a configuration needs, for a load or as it stands.

    Raises:
        ValueError: the load names a preset that is not there.
    """
    bought = hardware or Hardware()
    calls = calls_of(config, load) if load else ()
    deployments = [_io_bound("judge", config.judge.replicas)]
    engines: list[EnginePlan] = []
    refusals: list[Refusal] = []
    notes: list[str] = []
    for name, backend in config.backends.items():
        members = [member for member, voice in config.members.items() if voice.backend == name]
        if isinstance(backend, RemoteBackendConfig):
            if members:
                deployments.append(_io_bound(f"remote:{name}", backend.replicas))
        elif members:
            ours = [call for call in calls if call.member in members]
            engine = EngineToPlan(name, backend, ours, load, bought, find)
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
    """A deployment that waits for others, with the cores that Ray sets aside for its replicas."""
    return DeploymentPlan(name, ReplicaNeeds(cpus=replicas.num_cpus), replicas.min, replicas.max, replicas.min)


def _charges(config: ClusterConfig, calls: Iterable[MemberCall]) -> float | None:
    """What remote members charge for one fused request, in US dollars."""
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
