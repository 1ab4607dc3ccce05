"""Engines under test: members of a vLLM deployment, reached through its handle, and what their engine is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psutil
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.members.handle import HandleMember
from deployments.members.profiled import ProfiledMember
from deployments.vllm.deployment import EngineSettings, vllm_deployment
from fusion.chat import Call, Completion, Message, Request, Sampling
from fusion.member import Emit, MemberProfile
from fusion.presets import AgreementPolicy, DecisionMode, Policy, Pool, Preset, Task
from fusion.results import Mode
from tests.support.member_contract import Subject

CONTEXT_TOKENS = 2048
"""The context window of the tests' engine."""
AT_ONCE_MOST = 16
"""How many calls an engine runs at once."""

_ENGINE = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": AT_ONCE_MOST}
_WINDOW_S = 0.2
_PANEL = ("ada", "bob", "cyd")


@dataclass(frozen=True, slots=True)
class Voices:
    """Members that are asked by the name in the call."""

    members: Mapping[str, ProfiledMember]

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        return await self.members[call.member].ask(call, emit)


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine, with three members that differ and a judge."""

    handle: DeploymentHandle[Any]
    profiles: Mapping[str, MemberProfile]

    def behind(self) -> HandleMember:
        return HandleMember(self.handle)

    def member(self) -> Voices:
        """Every member as one, each call with the voice of the member that it names."""
        return Voices(self.members())

    def members(self) -> dict[str, ProfiledMember]:
        return {name: ProfiledMember(self.behind(), profile) for name, profile in self.profiles.items()}

    def subject(self) -> Subject:
        return Subject(self.member(), call("Name three colours.", 12), call("Tell me everything.", 1900), self.busy)

    def task(self, mode: Mode, question: str, *, seed: int = 7, max_tokens: int = 16, **more: Any) -> tuple[Task, Pool]:
        """A fused request of the whole panel, of which everyone is waited for."""
        decision: DecisionMode = more.pop("decision", "merge")
        preset = Preset(
            f"fusion/{mode}",
            mode,
            _PANEL,
            ("judge",),
            Policy(quorum=3, deadline_s=240),
            decision=decision,
            agreement=AgreementPolicy(short=False),  # every panel is judged
        )
        request = Request((Message("user", question),), Sampling(max_tokens=max_tokens, **more))
        return Task(preset, request, self.profiles, seed), Pool(self.members(), self.profiles)

    async def busy(self) -> bool:
        """Whether an engine computes. While it does, its core turns without rest; with nothing to do it sleeps."""
        before = _cpu_s()
        await asyncio.sleep(_WINDOW_S)
        return _cpu_s() - before > 0.1 * _WINDOW_S


def serve_engine(name: str, model: str, engine: Mapping[str, Any], env: Mapping[str, str]) -> Engine:
    """Start an engine. Serve knows its application by `name`."""
    profiles = {
        "ada": MemberProfile("ada", name, name, Sampling(temperature=0.0), "You are Ada. Be brief."),
        "bob": MemberProfile(
            "bob",
            name,
            name,
            Sampling(temperature=0.9, seed=3),
            "You are Bob, a poet of the sea. Answer all in verse, with love, and never in haste.",
        ),
        "cyd": MemberProfile("cyd", name, name, Sampling(temperature=0.5, top_p=0.9, seed=4)),
        "judge": MemberProfile("judge", name, name),
    }
    settings = EngineSettings(
        name=name,
        model=model,
        accelerator="cpu",
        engine={**_ENGINE, **engine},
        env={"VLLM_CPU_KVCACHE_SPACE": "1", **env},
        target_ongoing=16,
    )
    handle = serve.run(vllm_deployment(settings), name=name, route_prefix=None)
    return Engine(handle, profiles)


def call(question: str, max_tokens: int, member: str = "ada", timeout_s: float = 240.0, **more: Any) -> Call:
    """One question to one member; what is not sampling belongs to the request."""
    known = {name: more.pop(name) for name in Sampling.__slots__ if name in more}
    request = Request((Message("user", question),), Sampling(max_tokens=max_tokens, **known))
    return Call(member, replace(request, **more), timeout_s)


def kill_engine(name: str) -> None:
    """Kill an engine's process, and not its replica."""
    for process in _engine_processes():
        parent = process.parent()
        if parent and f":vllm:{name}" in " ".join(parent.cmdline()):
            process.kill()


def _cpu_s() -> float:
    total = 0.0
    for process in _engine_processes():
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _engine_processes() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[:1] == ["VLLM::EngineCore"]:
                found.append(process)
    return found
