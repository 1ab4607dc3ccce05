"""Members on a vLLM engine, through `ray.serve.llm`.

The engine lives in the member's own replica, so a call takes one hop, and all members that speak through it share the
deployment (docs/decisions/0001-engine-in-the-member-replica.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from ray.llm._internal.serve.core.protocol import RawRequestInfo
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve import Application
from ray.serve.llm import LLMConfig, LLMServer, build_llm_deployment  # pyright: ignore[reportUnknownVariableType]
from ray.serve.llm.openai_api_models import ChatCompletionRequest
from ray.serve.schema import LoggingConfig
from ray.util.placement_group import placement_group_table  # pyright: ignore[reportUnknownVariableType]
from vllm.entrypoints.serve import create_error_response
from vllm.exceptions import VLLMError
from vllm.platforms import current_platform

from deployments.autoscaling import autoscaling_config
from deployments.cpu_shards import CpuShards
from deployments.egress.images import ImageUrls, has_links
from deployments.engine_queue import EngineQueue
from deployments.engine_schemas import lengths_as_patterns
from deployments.engine_tokenizer import engine_tokens
from deployments.members.model_limits import ModelLimits
from deployments.members.replica import Deltas, MemberReplica, Outcome, ReplicaStatus, outcome_of
from deployments.providers.openai.chat import StreamReader, chat_body, completion_from
from fusion.chat import Call, Completion
from fusion.errors import (
    ContextExceeded,
    MalformedReply,
    MemberError,
    MemberOverloaded,
    MemberRejected,
    MemberTimeout,
    MemberUnavailable,
)
from fusion.member import Emit

DOWN_AFTER_S = 600.0
"""How long an engine that nobody needs is kept: starting one takes minutes."""

_DONE = "[DONE]"
_TOO_LONG = frozenset({"input_text", "input_tokens", "max_tokens", "max_completion_tokens"})

_ENGINE_DEFAULTS: Mapping[str, Any] = {
    # Without the second, a model may fill its answer with white space between two JSON tokens and never come to an end.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}
# An engine tells vLLM's authors what it runs on unless told not to.
_ENV_DEFAULTS: Mapping[str, str] = {"VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a vLLM backend runs.

    `model` is a hub id, a path or an object-store URL. `engine` holds vLLM's engine arguments, verbatim; what it leaves
    out is vLLM's default, but for structured outputs, which are held to compact JSON. `accelerator` is `cpu`, `gpu` for
    whatever GPU there is, or a GPU type that Ray knows. Each replica is meant to have `target_ongoing` calls under way
    and takes `max_ongoing`; as many again may wait for it. One that is to go has `drain_s` seconds to end what it has.
    """

    name: str
    model: str
    accelerator: str
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    placement_strategy: str = "PACK"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing: int = 64
    max_ongoing: int = 256
    drain_s: float = 130.0


def vllm_deployment(settings: EngineSettings) -> Application:
    """The deployment that wraps an engine. Ray must be initialised.

    Raises:
        ValueError: the settings are not what Ray or vLLM take.
    """
    return build_llm_deployment(
        llm_config(settings),
        name_prefix="vllm:",
        deployment_cls=VLLMReplica,
    )


class VLLMReplica(LLMServer):
    """An engine as a member's replica: what `MemberReplica` offers, on `LLMServer`'s life cycle."""

    async def __init__(self, llm_config: LLMConfig) -> None:
        self._model_id = llm_config.model_id
        hosts = llm_config.engine_kwargs.get("allowed_media_domains") or ()
        self._queue = EngineQueue()
        # First, for `__del__` is called too when the engine does not start.
        traced = bool(llm_config.engine_kwargs.get("otlp_traces_endpoint"))
        self._replica = MemberReplica(
            lambda: EngineMember(self, self._model_id, image_hosts=hosts, queue=self._queue, traced=traced)
        )
        _spare_the_search(llm_config)
        await super().__init__(llm_config, engine_cls=PlacedEngine)
        self._queue.attach(getattr(self.engine, "_engine_client", None))
        self._replica.listen(llm_config.deployment_config["max_ongoing_requests"])

    async def ask(self, call: Call) -> Outcome:
        return await self._replica.ask(call)

    async def watch(self, call: Call) -> AsyncGenerator[Deltas | Outcome, None]:
        async for item in self._replica.watch(call):
            yield item

    async def count(self, call: Call, texts: Sequence[str]) -> tuple[int, ...] | MemberError:
        """How many tokens the call's prompt has, images left out, and each of the texts alone."""
        try:
            return await engine_tokens(self, self._model_id, call, texts)
        except Exception as error:
            return outcome_of(error, call)

    async def limits(self) -> ModelLimits:
        """What the engine's model takes."""
        model = cast("Any", self.engine)._engine_client.model_config
        return ModelLimits(bool(model.is_multimodal_model), int(model.max_model_len))

    async def __del__(self) -> None:
        """Serve's hook for a replica that is to end."""
        await self._replica.close()
        await super().__del__()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return {**await self._replica.record_autoscaling_stats(), **self._queue.autoscaling_stats()}

    async def status(self) -> ReplicaStatus:
        """Whether the engine lives.

        Raises:
            Exception: it does not.
        """
        await self.check_health()
        return ReplicaStatus(ready=True)


class PlacedEngine(VLLMEngine):
    """An engine whose shards are where the placement group has them, on CPUs too, and whose tokenizer can be asked.

    Serve LLM starts all shards of an engine on CPUs beside the replica, wherever their bundles are, and looks for the
    tokenizer by a name that vLLM has given up.
    """

    async def start(self) -> None:
        await super().start()
        found = getattr(self._app_state, "serving_tokenization", None)
        self._oai_serving_tokenization = self._oai_serving_tokenization or found

    def _prepare_engine_config(self, callback_ctx: Any) -> Any:
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        table = cast("dict[str, Any]", placement_group_table(callback_ctx.placement_group))
        if current_platform.is_cpu() and len(set(table["bundles_to_node_id"].values())) > 1:
            config.parallel_config.distributed_executor_backend = CpuShards
        return arguments, frontend, config


def _spare_the_search(config: LLMConfig) -> None:
    """A model that is in its place need not be looked for, which takes a process on every node."""
    source = cast("Any", config.model_loading_config).model_source
    if isinstance(source, str) and Path(source).is_dir():
        cast("Any", config).get_or_create_callback().ctx.run_init_node = False


class EngineMember:
    """The members of one engine, asked in its own process.

    The engine is given images, never their URLs: it would look a URL's host up by itself, and follow redirects, from
    inside of the cluster, where a check made before says nothing. `image_hosts` are the hosts that images may come
    from, every public one when there are none. An engine that is `traced` makes spans of its own, below those that
    calls bring along; another one would only complain of them.
    """

    def __init__(
        self,
        server: LLMServer,
        model_id: str,
        images: ImageUrls | None = None,
        image_hosts: Collection[str] = (),
        queue: EngineQueue | None = None,
        traced: bool = False,
    ) -> None:
        self._server = server
        self._model_id = model_id
        self._images = images or ImageUrls()
        self._image_hosts = image_hosts
        self._queue = queue or EngineQueue()
        self._traced = traced

    async def ask(self, call: Call, emit: Emit | None = None) -> Completion:
        if call.purpose == "prefill" and self._queue.waiting:
            raise _no_room(call)
        # vLLM turns the cancellation of a call that does not stream into a reply, so that call has a task of its own.
        asking = asyncio.create_task(self._ask(call, emit))
        tasks: list[asyncio.Task[Any]] = [asking]
        if call.purpose == "prefill":
            tasks.append(asyncio.create_task(self._queue.is_short()))
        try:
            await asyncio.wait(tasks, timeout=call.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            answered = asking.done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not answered and self._queue.waiting and call.purpose == "prefill":
            raise _no_room(call)
        if not answered:
            raise MemberTimeout(f"no answer within {call.timeout_s:.1f} s", member=call.member)
        return asking.result()

    async def _ask(self, call: Call, emit: Emit | None) -> Completion:
        try:
            if has_links(call.request):
                call = replace(call, request=await self._images.inlined(call.request, self._image_hosts))
            body = chat_body(_with_patterns(call), self._model_id, stream=emit is not None)
            headers = RawRequestInfo(dict(call.trace_headers)) if self._traced and call.trace_headers else None
            replies = await self._server.chat(ChatCompletionRequest(**body), headers)
            return await (_whole(replies) if emit is None else _streamed(replies, emit))
        except MemberError:
            raise
        except Exception as error:
            # vLLM's own list of what is the request's fault and what is not.
            reply = create_error_response(error).model_dump()["error"]
            if reply["code"] == HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, VLLMError):
                raise  # its replica logs where
            raise _error_from(reply) from error


def _no_room(call: Call) -> MemberOverloaded:
    return MemberOverloaded("others wait for the engine, which reads nothing ahead then", member=call.member)


def _with_patterns(call: Call) -> Call:
    """The call with its answer's schema as xgrammar needs it."""
    wanted = call.request.response_schema
    if wanted is None:
        return call
    wanted = replace(wanted, schema=lengths_as_patterns(wanted.schema))
    return replace(call, request=replace(call.request, response_schema=wanted))


async def _whole(replies: AsyncIterator[Any]) -> Completion:
    async for reply in replies:
        return completion_from(_sound(reply.model_dump(mode="json", exclude_none=True)))
    raise MalformedReply("the engine gave no reply")


async def _streamed(replies: AsyncIterator[Any], emit: Emit) -> Completion:
    """Server-sent events, in lists; what is refused before it begins comes as an object."""
    reader = StreamReader()
    async for batch in replies:
        for event in cast("list[Any]", batch):
            data = event.removeprefix("data: ").strip() if isinstance(event, str) else event.model_dump_json()
            if data != _DONE and (delta := reader.feed(_sound(json.loads(data)))):
                emit(delta)
    return reader.completion()


def _sound(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply, or a chunk of one, when it is not an error."""
    if "error" in reply:
        raise _error_from(reply["error"])
    if any(choice.get("finish_reason") == "abort" for choice in reply["choices"]):
        raise MemberUnavailable("the engine gave the request up")
    return reply


def _error_from(error: Mapping[str, Any]) -> MemberError:
    """An engine's error in the words of `fusion.errors`. Its message may repeat the prompt, so only its kind is passed
    on."""
    code, kind = error["code"], error["type"]
    if code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return MemberOverloaded(f"the engine is full ({kind})")
    if code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT):
        return MemberTimeout(f"the engine ran out of time ({kind})")
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR and code != HTTPStatus.NOT_IMPLEMENTED:
        return MemberUnavailable(f"the engine failed ({kind})")
    if error.get("param") in _TOO_LONG:
        return ContextExceeded("the prompt and its answer are longer than the model's context")
    return MemberRejected(f"the engine refused the request ({kind})")


def llm_config(settings: EngineSettings) -> LLMConfig:
    """A backend's settings in the words of Serve LLM, with every limit that it leaves open set."""
    on_cpu = settings.accelerator == "cpu"
    return LLMConfig.model_validate(
        {
            "model_loading_config": {"model_id": settings.name, "model_source": settings.model},
            "engine_kwargs": {**_ENGINE_DEFAULTS, **settings.engine},
            "accelerator_config": {"kind": "cpu" if on_cpu else "gpu"},
            "accelerator_type": None if settings.accelerator in ("cpu", "gpu") else settings.accelerator,
            "placement_group_config": {
                "bundle_per_worker": {"CPU": 1} if on_cpu else {"GPU": 1},
                "strategy": settings.placement_strategy,
            },
            "runtime_env": {"env_vars": {**_ENV_DEFAULTS, **settings.env}},
            # Tokens are coalesced where they cross to the judge; the engine need not hold them back.
            "experimental_configs": {"stream_batching_interval_ms": 0},
            "deployment_config": {
                "max_ongoing_requests": settings.max_ongoing,
                "max_queued_requests": settings.max_ongoing,
                "graceful_shutdown_timeout_s": settings.drain_s,
                "max_surge_percent": 100,
                "autoscaling_config": autoscaling_config(
                    settings.min_replicas, settings.max_replicas, settings.target_ongoing, DOWN_AFTER_S
                ),
                # The shards' own bundles hold what the engine takes; the replica beside them only waits.
                "ray_actor_options": {"num_cpus": 0},
                # On a machine whose every core computes, a health check may wait for its turn.
                "health_check_timeout_s": 30,
                "logging_config": LoggingConfig(enable_access_log=False).model_dump(),
            },
            "log_engine_metrics": True,
        }
    )
