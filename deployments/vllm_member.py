"""Members on a vLLM engine, through `ray.serve.llm`.

The engine lives in the member's own replica, so a call takes one hop, and all members that speak through it share the
deployment.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ray.llm._internal.serve.core.configs.accelerators import CPUConfig
from ray.llm._internal.serve.core.configs.openai_api_models import ChatCompletionRequest, ErrorResponse
from ray.serve import Application
from ray.serve.llm import LLMConfig, LLMServer, build_llm_deployment

from deployments.member_replica import Deltas, MemberReplica, Outcome
from deployments.openai_wire import StreamReader, chat_body, completion_from
from fusion.errors import MalformedReply, MemberError, MemberRejected, MemberTimeout, MemberUnavailable
from fusion.member import Emit, MemberProfile
from fusion.values import Call, Completion

_DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a vLLM backend runs: its name, the model (hub id, path or URL), engine arguments verbatim, the accelerator
    (`cpu`, or a GPU type that Ray knows), and how many replicas with how many calls each."""

    name: str
    model: str
    accelerator: str
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    placement_strategy: str = "PACK"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing: int = 64


def vllm_deployment(settings: EngineSettings, profiles: Mapping[str, MemberProfile]) -> Application:
    """The deployment that wraps an engine and the members that speak through it. Ray must be initialised."""
    return build_llm_deployment(
        _llm_config(settings),
        name_prefix="vllm:",
        bind_kwargs={"profiles": dict(profiles)},
        deployment_cls=VLLMReplica,
    )


class VLLMReplica(LLMServer):
    """An engine as a member's replica: what `MemberReplica` offers, on `LLMServer`'s life cycle."""

    async def __init__(self, llm_config: LLMConfig, profiles: Mapping[str, MemberProfile]) -> None:
        await super().__init__(llm_config)
        self._replica = MemberReplica(lambda: EngineMember(self, llm_config.model_id), profiles)

    async def ask(self, call: Call) -> Outcome:
        return await self._replica.ask(call)

    async def watch(self, call: Call) -> AsyncGenerator[Deltas | Outcome, None]:
        async for item in self._replica.watch(call):
            yield item

    async def ready(self) -> bool:
        await self.check_health()
        return True


class EngineMember:
    """The members of one engine, asked in its own process."""

    def __init__(self, server: LLMServer, model_id: str) -> None:
        self._server = server
        self._model_id = model_id

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        body = chat_body(call, self._model_id, stream=emit is not None)
        try:
            async with asyncio.timeout(call.timeout_s):
                replies = await self._server.chat(ChatCompletionRequest(**body))
                return await (self._whole(replies) if emit is None else self._streamed(replies, emit))
        except TimeoutError as error:
            raise MemberTimeout(f"no answer within {call.timeout_s:.1f} s", member=call.member) from error

    async def _whole(self, replies: AsyncGenerator[Any, None]) -> Completion:
        async for reply in replies:
            if isinstance(reply, ErrorResponse):
                raise _error_from(reply)
            return completion_from(reply.model_dump(mode="json"))
        raise MalformedReply("the engine gave no reply")

    async def _streamed(self, replies: AsyncGenerator[Any, None], emit: Emit) -> Completion:
        reader = StreamReader()
        async for batch in replies:
            for event in cast("list[str | ErrorResponse]", batch) if isinstance(batch, list) else [batch]:
                if isinstance(event, ErrorResponse):
                    raise _error_from(event)
                data = event.removeprefix("data: ").strip()
                if data != _DONE and (delta := reader.feed(json.loads(data))):
                    emit(delta)
        return reader.completion()


def _error_from(reply: ErrorResponse) -> MemberError:
    """The engine's error. Its message may repeat the prompt, so only its kind is passed on."""
    error = reply.error
    code = int(error.code) if str(error.code).isdigit() else 500
    if 400 <= code < 500:
        return MemberRejected(f"the engine refused the request ({error.type})")
    return MemberUnavailable(f"the engine failed ({error.type})")


def _llm_config(settings: EngineSettings) -> LLMConfig:
    engine = dict(settings.engine)
    shards = int(engine.get("tensor_parallel_size", 1)) * int(engine.get("pipeline_parallel_size", 1))
    on_cpu = settings.accelerator == "cpu"
    placement: dict[str, Any] = {"strategy": settings.placement_strategy}
    placement["bundles"] = [
        {"CPU": 1} if on_cpu else {"GPU": 1, f"accelerator_type:{settings.accelerator}": 0.001}
    ] * shards
    return LLMConfig(
        model_loading_config={"model_id": settings.name, "model_source": settings.model},
        engine_kwargs=engine,
        accelerator_config=CPUConfig(kind="cpu") if on_cpu else None,
        accelerator_type=None if on_cpu else settings.accelerator,
        placement_group_config=placement,
        runtime_env={"env_vars": dict(settings.env)},
        # Tokens are coalesced where they cross to the judge; the engine need not hold them back.
        experimental_configs={"stream_batching_interval_ms": 0},
        deployment_config={
            "max_ongoing_requests": 4 * settings.target_ongoing,
            "autoscaling_config": {
                "min_replicas": settings.min_replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": settings.target_ongoing,
            },
            "ray_actor_options": {"num_cpus": 0},
        },
        log_engine_metrics=True,
    )
