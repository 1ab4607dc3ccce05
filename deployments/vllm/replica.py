"""An engine and its members in one Serve replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from ray.serve.llm import LLMConfig, LLMServer  # pyright: ignore[reportUnknownVariableType]

from deployments.members.model_limits import ModelLimits
from deployments.members.replica import Deltas, MemberReplica, MemberStatus, Outcome, outcome_of
from deployments.vllm.engine import PlacedEngine, skip_model_download
from deployments.vllm.member import EngineMember
from deployments.vllm.scheduler_stats import EngineQueue
from deployments.vllm.tokenizer import engine_tokens
from fusion.chat import Call
from fusion.errors import (
    MemberError,
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
            EngineMember(self, self._model_id, image_hosts=hosts, queue=self._queue, traced=traced)
        )
        skip_model_download(llm_config)
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

    async def status(self, members: Sequence[str]) -> dict[str, MemberStatus]:
        """The members' status: ready while the engine lives.

        Raises:
            Exception: it does not.
        """
        await self.check_health()
        return dict.fromkeys(members, MemberStatus(ready=True))
