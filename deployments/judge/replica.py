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
from deployments.judge.chain import judge_side
from deployments.judge.metrics import RequestMetrics, TimedWatcher
from deployments.members.local_socket.member import Reached, reach
from deployments.members.model_limits import ModelLimits, discover, with_limits
from deployments.members.profiled import ProfiledTokenizer
from deployments.members.replica import MemberStatus
from deployments.observability.exporter import JUDGE, Exporter
from deployments.observability.tracing.settings import TracingSettings
from deployments.recordings.fused_request import Account
from deployments.recordings.settings import RecordingSettings
from deployments.resilience.limits import Limiter, LimitSettings
from deployments.resilience.targets import Targets
from deployments.secrets import Secret
from fusion.chat import Call, Completion
from fusion.errors import EmptyCompletion, LimitReached, MemberTimeout
from fusion.limits.call_stats import CallStats
from fusion.limits.eligibility import incapability_of
from fusion.member import Emit
from fusion.presets import Policy, Pool, Preset, Task
from fusion.pricing import cost_usd
from fusion.progress import Observer, Watcher
from fusion.results import Fused
from fusion.runtime.runner import fuse

if TYPE_CHECKING:
    from deployments.judge.instrumentation import Instrumentation

READINESS_TIMEOUT_S = 2.0


MEMBER_TIMEOUT_S = Policy().deadline_s
"""How long a plain call to a member may take."""


_DURATION_WEIGHT = 0.1  # of the last fusion, in the mean of those before it


class Judge:
    """Serves the HTTP API and runs every fused request from its panel to its answer.

    Args:
        catalogue: the presets and the members' profiles.
        handles: the members' deployments by member name, others among them; members of one backend share its handle.
        max_body_bytes: larger request bodies are refused.
        max_ongoing: requests that run at once.
        max_queued: requests that wait for a slot; more are refused.
        keys: where the API's keys are, None when it is open.
        targets: the hedge and the fallbacks of those members that have any.
        recordings: where requests are recorded, None when they are not.
        tracing: where spans go, None when there are none.
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
        targets: Mapping[str, Targets],
        recordings: RecordingSettings | None = None,
        tracing: TracingSettings | None = None,
    ) -> None:
        self.catalogue = catalogue
        handles = {name: handles[name] for name in catalogue.profiles}
        profiles = catalogue.profiles
        # Engines have a tokenizer, and are reached through their handles alone: Serve spreads their load.
        reached = {
            handles[name].deployment_id: reach(handles[name], local_sockets=not profile.has_tokenizer)
            for name, profile in profiles.items()
        }
        self._backends = {name: reached[handle.deployment_id] for name, handle in handles.items()}
        self._targets = targets
        self._instrumentation = _instrumentation(recordings, tracing)
        trace = None if self._instrumentation is None else partial(self._instrumentation.traced, profiles=profiles)
        side = judge_side(self._backends, profiles, targets, trace)
        self._members = side.members
        self._call_stats = CallStats()
        prefilling = {name: side.alone[name] for name, profile in profiles.items() if profile.supports_prefill}
        tokenizers = {
            name: ProfiledTokenizer(self._backends[name], profile)
            for name, profile in profiles.items()
            if profile.has_tokenizer
        }
        self._pool = Pool(self._members, profiles, prefilling, tokenizers)
        # A fallback has a price of its own, and a hedge costs as much again: within a budget there are none.
        self._pool_within_budget = Pool(side.alone, profiles, tokenizers=tokenizers)
        self._discovering = asyncio.gather(*self._discover_limits())
        Exporter(side.resilient).start()
        Exporter({"": self}, family=JUDGE).start()
        self._metrics = RequestMetrics(catalogue.presets)
        self._metrics.start()
        self._refusals = 0
        digests = None if keys is None else tuple(key_digest(key) for key in keys.read().replace(",", " ").split())
        self._limits = Limits(max_body_bytes, digests)
        self._slots = Limiter(LimitSettings(concurrency=max_ongoing, max_queued=max_queued))
        self._duration_s: float | None = None
        self._target_queue_depth: int | None = None

    def reconfigure(self, user_config: Mapping[str, int]) -> None:
        """Serve's hook for what changes while a replica runs: how many requests it is meant to have, for export."""
        self._target_queue_depth = user_config["target_queue_depth"]

    def _discover_limits(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Ask the engines what their models take. They know it once they are up, and the configuration need not say."""
        engines: dict[Reached, list[str]] = {}
        for name, profile in self.catalogue.profiles.items():
            if profile.has_tokenizer:
                engines.setdefault(self._backends[name], []).append(name)
        return (discover(engine, partial(self._update_limits, names)) for engine, names in engines.items())

    def _update_limits(self, members: Sequence[str], limits: ModelLimits) -> None:
        profiles = with_limits(self.catalogue.profiles, members, limits)
        self.catalogue = replace(self.catalogue, profiles=profiles)
        self._pool = replace(self._pool, profiles=profiles)
        self._pool_within_budget = replace(self._pool_within_budget, profiles=profiles)

    def __del__(self) -> None:
        """Serve's hook for the end of a replica."""
        if instrumentation := getattr(self, "_instrumentation", None):
            instrumentation.close()

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
            if self._instrumentation is None:
                fused = await self._fuse(task, timed, started_at, (account,))
            else:
                with self._instrumentation.observe(task, chat, account, started_at) as scope:
                    fused = await self._fuse(task, timed, started_at, (account, *scope.observers))
                    scope.answered(fused)
        except BaseException as error:
            self._metrics.request_failed(task, account, error)
            raise
        first_at = None if timed is None else timed.first_at
        self._metrics.request_answered(task, account, fused, None if first_at is None else first_at - started_at)
        return fused

    async def _fuse(
        self, task: Task, watcher: Watcher | None, started_at: float, observers: Sequence[Observer]
    ) -> Fused:
        preset = task.preset
        await self._enter(started_at + preset.policy.deadline_s - asyncio.get_running_loop().time())
        try:
            fused = await fuse(
                task,
                self._pool if preset.policy.max_cost_usd is None else self._pool_within_budget,
                watcher=watcher,
                started_at=started_at,
                observers=observers,
                call_stats=self._call_stats,
            )
        finally:
            self._slots.leave()
        took_s = fused.timings.total_ms / 1e3
        last_s = self._duration_s or took_s
        self._duration_s = last_s + _DURATION_WEIGHT * (took_s - last_s)
        return fused

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for numbers that its autoscaling policy is given."""
        stats = {QUEUED: float(self._slots.queued)}
        return stats if self._duration_s is None else {**stats, DURATION: self._duration_s}

    async def ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        """Answer with one member alone."""
        began_at = asyncio.get_running_loop().time()
        try:
            if self._instrumentation is None:
                completion = await self._ask(member, chat, emit)
            else:
                with self._instrumentation.in_clients_trace():
                    completion = await self._ask(member, chat, emit)
        except BaseException as error:
            self._metrics.member_call_failed(error)
            raise
        spoke = self.catalogue.profiles[completion.answered_by or member]
        took_s = asyncio.get_running_loop().time() - began_at
        self._metrics.member_answered(completion, spoke.name, cost_usd(completion.usage, spoke.price), took_s)
        return completion

    async def _enter(self, at_most_s: float) -> None:
        """Wait for a slot.

        Raises:
            LimitReached: too many requests wait already, or no slot is free in time.
        """
        try:
            await self._slots.enter(at_most_s)
        except LimitReached:
            self._refusals += 1
            raise

    def counters(self) -> Mapping[str, float]:
        """The numbers of running, waiting and refused requests, for export."""
        slots = {"running": self._slots.running, "queued": self._slots.queued, "refusals_total": self._refusals}
        target = self._target_queue_depth
        return slots if target is None else {**slots, "target_queue_depth": target}

    async def _ask(self, member: str, chat: ChatRequest, emit: Emit | None) -> Completion:
        if error := incapability_of(self.catalogue.profiles[member], chat.request):
            raise error
        call = Call(member, chat.request, timeout_s=MEMBER_TIMEOUT_S)
        await self._enter(MEMBER_TIMEOUT_S)
        try:
            async with asyncio.timeout(MEMBER_TIMEOUT_S):
                completion = await self._members[member].ask(call, emit)
        except TimeoutError as error:
            raise MemberTimeout(f"no answer within {MEMBER_TIMEOUT_S:.0f} s", member=member) from error
        finally:
            self._slots.leave()
        if not completion.text and not completion.tool_calls:
            raise EmptyCompletion(f"{member} answered with neither text nor tool calls", member=member)
        return completion

    async def readiness(self) -> dict[str, Any]:
        """Which members can be asked, and which presets can convene a quorum of members or their fallbacks."""
        served: dict[Reached, list[str]] = {}
        for name, backend in self._backends.items():
            served.setdefault(backend, []).append(name)
        statuses = await asyncio.gather(*(_status(*each) for each in served.items()))
        members = {name: status for each in statuses for name, status in each.items()}
        can_answer = {name for name in members if any(members[each].ready for each in (name, *self._fallbacks(name)))}
        presets = {
            name: len(can_answer.intersection(preset.panel)) >= preset.quorum
            for name, preset in self.catalogue.presets.items()
        }
        return {
            "ready": any(presets.values()),
            "members": {name: {"ready": status.ready, "breaker": status.breaker} for name, status in members.items()},
            "presets": {name: {"ready": ready} for name, ready in presets.items()},
        }

    def _fallbacks(self, member: str) -> tuple[str, ...]:
        return self._targets[member].fallbacks if member in self._targets else ()


def _instrumentation(recordings: RecordingSettings | None, tracing: TracingSettings | None) -> Instrumentation | None:
    if recordings is None and tracing is None:
        return None
    from deployments.judge.instrumentation import Instrumentation

    return Instrumentation(recordings, tracing)


async def _status(backend: Reached, members: Sequence[str]) -> Mapping[str, MemberStatus]:
    try:
        async with asyncio.timeout(READINESS_TIMEOUT_S):
            return await backend.status(members)
    except TimeoutError:
        return dict.fromkeys(members, MemberStatus(ready=False))
