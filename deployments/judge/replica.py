"""The judge: ingress and orchestrator in one replica."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from deployments.api.app import http_api
from deployments.api.auth import Limits, key_digest
from deployments.api.chat_request import ChatRequest
from deployments.api.models import Catalogue
from deployments.autoscaling import DURATION, QUEUED
from deployments.judge.metrics import RequestMetrics, TimedWatcher
from deployments.members.handle import HandleMember
from deployments.members.local_socket.member import AskingNearby, member_behind
from deployments.members.model_limits import ModelLimits, learn, with_limits
from deployments.members.profiled import Voiced, VoicedTokenizer
from deployments.members.replica import MemberStatus
from deployments.observability.exporter import JUDGE, Exporter
from deployments.observability.tracing.settings import TracingSettings
from deployments.recordings.fused_request import Account
from deployments.recordings.settings import TraceSettings
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.targets import Backup, backed_up
from deployments.secrets import Secret
from fusion.chat import Call, Completion
from fusion.errors import EmptyCompletion, LimitReached, MemberTimeout
from fusion.limits.call_stats import Experience
from fusion.limits.context import unable
from fusion.member import Emit, Member
from fusion.presets import Policy, Pool, Preset, Task
from fusion.pricing import cost_usd
from fusion.progress import Observer, Watcher
from fusion.results import Fused
from fusion.runtime.runner import fuse

if TYPE_CHECKING:
    from deployments.judge.instrumentation import Onlookers

READINESS_TIMEOUT_S = 2.0


MEMBER_TIMEOUT_S = Policy().deadline_s
"""How long a plain call to a member may take."""


_DURATION_WEIGHT = 0.1  # of the last fusion, in the mean of those before it


class Judge:
    """Serves the HTTP API and runs every fused request from its panel to its answer.

    `handles` reach the members' deployments by member name, others among them; members that share a deployment share
    its handle. `keys` says where the API's keys are, None when it is open. `max_ongoing` requests run at once and
    `max_queued` wait for their turn; more are refused. `backups` names who is asked besides a member, for those that
    have anyone. `traces` says where requests are recorded and `tracing` where their spans go, None when they are not.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        handles: Mapping[str, DeploymentHandle[Any]],
        *,
        max_body_bytes: int,
        max_ongoing: int,
        max_queued: int,
        keys: Secret | None,
        backups: Mapping[str, Backup],
        traces: TraceSettings | None = None,
        tracing: TracingSettings | None = None,
    ) -> None:
        self.catalogue = catalogue
        handles = {name: handles[name] for name in catalogue.profiles}
        by_deployment = {handle.deployment_id: member_behind(handle) for handle in handles.values()}
        self._handles = {name: by_deployment[handle.deployment_id] for name, handle in handles.items()}
        self._backups = backups
        self._onlookers = _onlookers(traces, tracing)
        voices = catalogue.profiles
        members: Mapping[str, Member] = {name: Voiced(each, voices[name]) for name, each in self._handles.items()}
        if self._onlookers is not None:
            members = self._onlookers.traced(members, catalogue.profiles)
        resilient = {name: backed_up(name, backup, members) for name, backup in backups.items()}
        self._members: dict[str, Member] = {**members, **resilient}
        self._experience = Experience()
        prefilling = {name: members[name] for name, profile in catalogue.profiles.items() if profile.supports_prefill}
        tokenizers = {
            name: VoicedTokenizer(self._handles[name], profile)
            for name, profile in catalogue.profiles.items()
            if profile.has_tokenizer
        }
        self._pool = Pool(self._members, catalogue.profiles, prefilling, tokenizers)
        # Who stands in has a price of its own, and a second call costs as much again: within a budget there are none.
        self._pool_of_few = Pool(members, catalogue.profiles, tokenizers=tokenizers)
        self._learning = asyncio.gather(*self._lessons())
        Exporter(resilient).start()
        Exporter({"": self}, family=JUDGE).start()
        self._metrics = RequestMetrics(catalogue.presets)
        self._metrics.start()
        self._refusals = 0
        digests = None if keys is None else tuple(key_digest(key) for key in keys.read().replace(",", " ").split())
        self._limits = Limits(max_body_bytes, digests)
        self._turns = Limiter(LimitSettings(concurrency=max_ongoing, max_queued=max_queued))
        self._duration_s: float | None = None
        self._target_queue_depth: int | None = None

    def reconfigure(self, told: Mapping[str, int]) -> None:
        """Serve's hook for what changes while a replica runs: how many requests it is meant to have, for export."""
        self._target_queue_depth = told["target_queue_depth"]

    def _lessons(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What the engines' models take is known when they are up, and the configuration need not say it."""
        voices: dict[HandleMember | AskingNearby, list[str]] = {}
        for name, profile in self.catalogue.profiles.items():
            if profile.has_tokenizer:
                voices.setdefault(self._handles[name], []).append(name)
        return (learn(engine, partial(self._know, names)) for engine, names in voices.items())

    def _know(self, members: Sequence[str], limits: ModelLimits) -> None:
        profiles = with_limits(self.catalogue.profiles, members, limits)
        self.catalogue = replace(self.catalogue, profiles=profiles)
        self._pool = replace(self._pool, profiles=profiles)
        self._pool_of_few = replace(self._pool_of_few, profiles=profiles)

    def __del__(self) -> None:
        """Serve's hook for the end of a replica."""
        if onlookers := getattr(self, "_onlookers", None):
            onlookers.close()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve's hook for a deployment that is an ASGI application."""
        return http_api(self, self._limits)

    async def fuse(self, preset: Preset, chat: ChatRequest, watcher: Watcher | None, started_at: float) -> Fused:
        """Answer with a panel."""
        task = Task(
            preset,
            chat.request,
            self.catalogue.profiles,
            seed=secrets.randbits(63),
            panel_sampling=chat.panel_sampling,
            judge_sampling=chat.judge_sampling,
        )
        account = Account()
        timed = None if watcher is None else TimedWatcher(watcher)
        try:
            if self._onlookers is None:
                fused = await self._fuse(task, timed, started_at, (account,))
            else:
                with self._onlookers.attend(task, chat, account, started_at) as attendance:
                    fused = await self._fuse(task, timed, started_at, (account, *attendance.observers))
                    attendance.answered(fused)
        except BaseException as error:
            self._metrics.failed(task, account, error)
            raise
        first_at = None if timed is None else timed.first_at
        self._metrics.answered(task, account, fused, None if first_at is None else first_at - started_at)
        return fused

    async def _fuse(
        self, task: Task, watcher: Watcher | None, started_at: float, observers: Sequence[Observer]
    ) -> Fused:
        preset = task.preset
        await self._enter(started_at + preset.policy.deadline_s - asyncio.get_running_loop().time())
        try:
            fused = await fuse(
                task,
                self._pool if preset.policy.max_cost_usd is None else self._pool_of_few,
                watcher=watcher,
                started_at=started_at,
                observers=observers,
                experience=self._experience,
            )
        finally:
            self._turns.leave()
        took_s = fused.timings.total_ms / 1e3
        last_s = self._duration_s or took_s
        self._duration_s = last_s + _DURATION_WEIGHT * (took_s - last_s)
        return fused

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for numbers that its autoscaling policy is given."""
        stats = {QUEUED: float(self._turns.queued)}
        return stats if self._duration_s is None else {**stats, DURATION: self._duration_s}

    async def ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        """Answer with one member alone."""
        began_at = asyncio.get_running_loop().time()
        try:
            if self._onlookers is None:
                completion = await self._ask(member, chat, emit)
            else:
                with self._onlookers.in_clients_trace():
                    completion = await self._ask(member, chat, emit)
        except BaseException as error:
            self._metrics.asked_in_vain(error)
            raise
        spoke = self.catalogue.profiles[completion.answered_by or member]
        took_s = asyncio.get_running_loop().time() - began_at
        self._metrics.asked(completion, spoke.name, cost_usd(completion.usage, spoke.price), took_s)
        return completion

    async def _enter(self, at_most_s: float) -> None:
        """Wait for a turn.

        Raises:
            LimitReached: too many wait already, or none comes in time.
        """
        try:
            await self._turns.enter(at_most_s)
        except LimitReached:
            self._refusals += 1
            raise

    def counters(self) -> Mapping[str, float]:
        """The turns' numbers, for export."""
        turns = {"running": self._turns.running, "queued": self._turns.queued, "refusals_total": self._refusals}
        target = self._target_queue_depth
        return turns if target is None else {**turns, "target_queue_depth": target}

    async def _ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        if error := unable(self.catalogue.profiles[member], chat.request):
            raise error
        call = Call(member, chat.request, timeout_s=MEMBER_TIMEOUT_S)
        await self._enter(MEMBER_TIMEOUT_S)
        try:
            async with asyncio.timeout(MEMBER_TIMEOUT_S):
                completion = await self._members[member].ask(call, emit)
        except TimeoutError as error:
            raise MemberTimeout(f"no answer within {MEMBER_TIMEOUT_S:.0f} s", member=member) from error
        finally:
            self._turns.leave()
        if not completion.text and not completion.tool_calls:
            raise EmptyCompletion(f"{member} answered with neither text nor tool calls", member=member)
        return completion

    async def readiness(self) -> dict[str, Any]:
        """Which members can be asked and which presets can convene a quorum, of members or their stand-ins."""
        served: dict[HandleMember | AskingNearby, list[str]] = {}
        for name, deployment in self._handles.items():
            served.setdefault(deployment, []).append(name)
        statuses = await asyncio.gather(*(_status(*each) for each in served.items()))
        members = {name: status for each in statuses for name, status in each.items()}
        can_answer = {name for name in members if any(members[voice].ready for voice in (name, *self._stand_ins(name)))}
        presets = {
            name: len(can_answer.intersection(preset.panel)) >= preset.quorum
            for name, preset in self.catalogue.presets.items()
        }
        return {
            "ready": any(presets.values()),
            "members": {name: {"ready": status.ready, "breaker": status.breaker} for name, status in members.items()},
            "presets": {name: {"ready": ready} for name, ready in presets.items()},
        }

    def _stand_ins(self, member: str) -> tuple[str, ...]:
        return self._backups[member].stand_ins if member in self._backups else ()


def _onlookers(traces: TraceSettings | None, tracing: TracingSettings | None) -> Onlookers | None:
    if traces is None and tracing is None:
        return None
    from deployments.judge.instrumentation import Onlookers

    return Onlookers(traces, tracing)


async def _status(deployment: HandleMember | AskingNearby, members: Sequence[str]) -> Mapping[str, MemberStatus]:
    try:
        async with asyncio.timeout(READINESS_TIMEOUT_S):
            return await deployment.status(members)
    except TimeoutError:
        return dict.fromkeys(members, MemberStatus(ready=False))
